"""The index on a GPU: the same calls and the same promise, by kernels in `kernels/*_cuda.py`.

finding      the device, or an error that names what is missing
residency    what of a segment lies on the device, within a budget of memory
columns      the codes of attribute columns there, and the bitmaps of a batch's filters
products     matrices multiplied by cuBLAS
lanes        streams that take turns, each with memory of its own for batches
rows         what kernels ask of a segment's rows
places       where the answers of a batch stand
segment      one segment there: batches of queries, each under its own bitmap
native       one whose rows are computed from a compressed table
costs        what a search there costs, measured once
planning     for how many passing rows a scan, of which codes, the clusters or a walk
searching    an index there: filters, plans, segments
answers      what a batch answered, cut up into hits when they are asked for
building     what a build on a device runs on
loops        its loops over all rows: clusters, codes; rows in pieces where they do not fit
graph_building   the links of its graph
truth        true answers to its sample queries

Nothing here is imported before a device is asked for.
"""
