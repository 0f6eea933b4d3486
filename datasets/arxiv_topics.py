"""The archives and categories of arXiv, with their rough shares and typical words.

Shares are in per mille of all papers, rounded by hand from the public monthly statistics; they
only have to give a realistic skew. A category's words stand after its share. Archives that arXiv
gave up in the nineties are among them; second names of a category (math.IT of cs.IT) are not.
"""

from __future__ import annotations

from typing import NamedTuple


class Category(NamedTuple):
    """One subject class: `name` such as "cs.LG", its archive "cs", share and words."""

    name: str
    archive: str
    share: float
    words: tuple[str, ...]


# Groups of archives that cross-list with each other.
FIELDS: dict[str, tuple[str, ...]] = {
    "computing": ("cs", "stat", "eess", "cmp-lg", "bayes-an"),
    "mathematics": ("math", "math-ph", "alg-geom", "dg-ga", "funct-an", "q-alg"),
    "dynamics": ("nlin", "adap-org", "chao-dyn", "comp-gas", "patt-sol", "solv-int"),
    "particles": ("hep-th", "hep-ph", "hep-ex", "hep-lat", "gr-qc", "nucl-th", "nucl-ex"),
    "matter": tuple(
        str.split(
            "cond-mat quant-ph physics acc-phys ao-sci atom-ph chem-ph mtrl-th plasm-ph supr-con"
        )
    ),
    "sky": ("astro-ph",),
    "society": ("econ", "q-fin", "q-bio"),
}

# Categories that go together more often than others of their fields: how many times.
PAIRS: dict[tuple[str, str], float] = {
    ("cs.LG", "stat.ML"): 30,
    ("cs.LG", "cs.AI"): 3,
    ("cs.LG", "cs.CV"): 2,
    ("eess.IV", "cs.CV"): 20,
    ("eess.AS", "cs.SD"): 40,
    ("q-bio.NC", "cs.NE"): 10,
    ("astro-ph.CO", "gr-qc"): 10,
    ("astro-ph.CO", "hep-ph"): 8,
    ("hep-th", "gr-qc"): 3,
    ("cond-mat.stat-mech", "math-ph"): 5,
    ("cond-mat.mes-hall", "quant-ph"): 3,
    ("math.PR", "math.ST"): 2,
}

ARCHIVE_WORDS: dict[str, str] = {
    "acc-phys": "accelerators beams magnets emittance injection lattices",
    "adap-org": "agents adaptation evolution self-organization networks rules",
    "alg-geom": "varieties curves bundles moduli singularities divisors",
    "ao-sci": "oceans atmospheres waves currents circulation forecasts",
    "astro-ph": "observations galaxies spectra redshift luminosity telescope catalog emission",
    "atom-ph": "atoms ions lasers transitions collisions traps",
    "bayes-an": "priors posteriors likelihood evidence models data",
    "chao-dyn": "chaos maps attractors orbits turbulence exponents",
    "chem-ph": "molecules reactions potentials clusters spectra solvents",
    "cmp-lg": "grammars parsing corpora discourse lexicons sentences",
    "comp-gas": "lattice-gases automata fluids collisions simulations flows",
    "cond-mat": "lattice phase electrons transition temperature disorder excitations samples",
    "cs": "algorithms benchmarks networks data systems datasets complexity software",
    "dg-ga": "manifolds connections curvature bundles metrics foliations",
    "econ": "markets agents equilibrium incentives welfare policy preferences prices",
    "eess": "signals channels sensors estimation receivers bandwidth antennas filters",
    "funct-an": "operators algebras Banach-spaces semigroups spectra norms",
    "gr-qc": "spacetime metrics curvature horizons gravity relativity cosmology tensors",
    "hep-ex": "collisions detector events luminosity decays measurements jets backgrounds",
    "hep-lat": "lattices quarks simulations fermions discretization gauge propagators",
    "hep-ph": "quarks decays couplings neutrinos corrections phenomenology bosons amplitudes",
    "hep-th": "strings branes gauge duality supersymmetry holography operators correlators",
    "math": "manifolds theorems operators groups equations inequalities conjectures proofs",
    "math-ph": "operators symmetries hamiltonians integrals spectra representations algebras",
    "mtrl-th": "crystals surfaces alloys pseudopotentials defects vacancies",
    "nlin": "oscillators chaos solitons bifurcations attractors dynamics waves patterns",
    "nucl-ex": "nuclei beams isotopes targets measurements collisions yields detectors",
    "nucl-th": "nuclei nucleons shells potentials isotopes pairing forces reactions",
    "patt-sol": "patterns solitons fronts instabilities waves convection",
    "physics": "experiments fields particles flows waves instruments materials lasers",
    "plasm-ph": "plasmas instabilities fields tokamaks waves heating",
    "q-alg": "quantum-groups Hopf-algebras knots representations categories deformations",
    "q-bio": "cells proteins genes populations evolution neurons sequences organisms",
    "q-fin": "portfolios returns volatility options risk prices hedging assets",
    "quant-ph": "qubits entanglement measurements channels states circuits coherence gates",
    "solv-int": "integrable-systems hierarchies solitons symmetries Lax-pairs equations",
    "stat": "estimators priors samples likelihood regression inference covariates tests",
    "supr-con": "superconductors vortices pairing gaps cuprates currents",
}

_TABLE = """
acc-phys 0.03 beams linacs emittance storage-rings
adap-org 0.2 self-organization agents adaptation sandpiles
alg-geom 0.5 sheaves moduli cohomology bundles
ao-sci 0.02 oceans climate mixing eddies
astro-ph 35 galaxies stars clusters quasars supernovae radio-sources
astro-ph.CO 20 cosmological inflation dark-energy lensing anisotropies halos
astro-ph.EP 10 planets exoplanets transits orbits asteroids atmospheres
astro-ph.GA 22 star-formation quasars clusters dust metallicity kinematics
astro-ph.HE 18 pulsars gamma-ray supernovae accretion bursts cosmic-rays
astro-ph.IM 6 calibration instrumentation pipelines mirrors interferometers photometry
astro-ph.SR 16 stars binaries flares asteroseismology winds sunspots
atom-ph 0.1 Rydberg trapping ionization spectroscopy
bayes-an 0.02 priors entropy inference evidence
chao-dyn 0.8 Lyapunov intermittency maps billiards
chem-ph 0.1 clusters reactions potentials dynamics
cmp-lg 0.3 parsing tagging translation anaphora
comp-gas 0.06 lattice-Boltzmann automata fluids viscosity
cond-mat 4 transitions models ordering scaling
cond-mat.dis-nn 4 spin-glasses localization randomness networks landscapes
cond-mat.mes-hall 20 graphene nanowires conductance quantum-dots topology edge-states
cond-mat.mtrl-sci 22 alloys band-structure oxides semiconductors phonons defects
cond-mat.other 2 magnetism transport cold-atoms plasmons
cond-mat.quant-gas 4 condensates ultracold bosons traps vortices
cond-mat.soft 9 colloids polymers gels membranes glasses emulsions
cond-mat.stat-mech 14 critical-exponents fluctuations entropy Ising percolation diffusion
cond-mat.str-el 18 Hubbard magnetism spin-liquids Mott correlations doping
cond-mat.supr-con 12 superconductors cuprates pairing gaps vortices magnetization
cs.AI 18 planning reasoning knowledge agents heuristics constraints
cs.AR 2 caches accelerators pipelines FPGAs
cs.CC 4 hardness reductions circuits NP-completeness oracles
cs.CE 2 simulation solvers engineering mechanics
cs.CG 2 polygons Voronoi triangulations arrangements
cs.CL 22 translation parsing transformers corpora embeddings language-models
cs.CR 9 encryption attacks privacy malware authentication
cs.CV 34 segmentation images detection convolutional pose video
cs.CY 4 fairness education society accountability regulation
cs.DB 5 queries indexes joins transactions provenance
cs.DC 6 scheduling consensus parallelism clusters latency
cs.DL 2 citations bibliometrics archives metadata
cs.DM 4 graphs colorings matchings hypergraphs permutations
cs.DS 9 approximation streaming sketching shortest-paths data-structures
cs.ET 1 memristors neuromorphic nanocomputing molecular
cs.FL 2 automata grammars languages words
cs.GL 0.1 surveys history perspectives
cs.GR 2 rendering meshes animation textures
cs.GT 4 auctions mechanisms games equilibria bidding
cs.HC 4 interfaces users visualization accessibility interaction
cs.IR 6 retrieval ranking recommendation relevance queries
cs.IT 14 codes capacity entropy decoding MIMO
cs.LG 45 gradient neural-networks training generalization classifiers representations
cs.LO 5 logics automata verification decidability semantics
cs.MA 2 agents negotiation coordination swarms
cs.MM 2 video streaming watermarking compression
cs.MS 1 libraries software floating-point solvers
cs.NA 1 quadrature interpolation solvers
cs.NE 4 evolution spiking genetic-algorithms swarm-optimization
cs.NI 6 routing wireless protocols throughput congestion
cs.OH 1 miscellany tools techniques
cs.OS 0.4 kernels scheduling filesystems virtualization
cs.PF 1 queues throughput benchmarks profiling
cs.PL 3 types compilers semantics lambda-calculus
cs.RO 10 robots manipulation trajectories grasping localization
cs.SC 1 polynomials Groebner-bases symbolic-integration factorization
cs.SD 4 music audio separation timbre
cs.SE 8 testing bugs repositories refactoring programs
cs.SI 5 communities influence social-media diffusion rumors
cs.SY 5 controllers grids observers robustness
dg-ga 0.2 connections holonomy foliations curvature
econ.EM 2 instruments identification panels treatment-effects
econ.GN 2 growth trade labor inequality
econ.TH 3 contracts voting matching information-design
eess.AS 4 speech speakers acoustics recognition
eess.IV 5 reconstruction tomography denoising compression
eess.SP 9 beamforming radar modulation sparsity
eess.SY 8 control stability controllers feedback
funct-an 0.12 operators C*-algebras semigroups factors
gr-qc 34 black-holes gravitational-waves singularities inflation perturbations geodesics
hep-ex 15 Higgs tracking cross-sections asymmetries triggers calorimeters
hep-lat 8 QCD chiral confinement hadrons renormalization spectroscopy
hep-ph 55 neutrino-mixing supersymmetric flavor parton resonances dark-matter
hep-th 48 conformal AdS/CFT anomalies instantons T-duality superspace
math-ph 16 integrability Schrodinger random-matrices resolvents semiclassical
math.AC 5 ideals rings modules syzygies
math.AG 16 schemes sheaves moduli varieties cohomology
math.AP 24 well-posedness regularity blow-up boundary elliptic
math.AT 6 homotopy spectra bordism loop-spaces
math.CA 6 Fourier multipliers singular-integrals weights
math.CO 22 partitions graphs polytopes tableaux Ramsey
math.CT 3 functors topos monads adjunctions
math.CV 5 holomorphic plurisubharmonic domains univalent
math.DG 12 Ricci minimal-surfaces connections foliations
math.DS 11 ergodic hyperbolicity entropy orbits
math.FA 9 Banach-spaces operators frames compactness
math.GM 1 primes conjectures identities series
math.GN 2 compactifications metrizability continua filters
math.GR 8 subgroups commutators hyperbolic-groups automorphisms
math.GT 8 knots surfaces braids three-manifolds
math.HO 1 history teaching biography puzzles
math.KT 2 K-theory cyclic-homology motives traces
math.LO 4 forcing cardinals definability models
math.MG 4 convex-bodies packings metrics polytopes
math.NA 14 discretization finite-elements convergence preconditioners
math.NT 16 primes L-functions modular-forms Galois
math.OA 5 C*-algebras factors K-theory traces
math.OC 15 convexity optimization duality splitting
math.PR 18 martingales random-walks large-deviations branching
math.QA 6 quantum-groups Hopf-algebras categories fusion
math.RA 5 associative-algebras derivations identities gradings
math.RT 8 representations characters crystals quivers
math.SG 4 symplectic Lagrangian Floer contact
math.SP 3 eigenvalues Laplacians resonances Schrodinger-operators
math.ST 8 minimax asymptotics testing nonparametric
mtrl-th 0.1 pseudopotentials surfaces vacancies growth
nlin.AO 2 synchronization oscillators adaptation networks
nlin.CD 4 Lyapunov synchronization maps ergodicity
nlin.CG 0.5 cellular-automata rules universality computation
nlin.PS 3 breathers fronts Turing lasers
nlin.SI 3 Painleve hierarchies Lax-pairs
nucl-ex 6 heavy-ion spectroscopy beta-decay fission
nucl-th 14 shell-model mean-field nuclear-matter halo
patt-sol 0.25 fronts spirals convection stripes
physics.acc-ph 4 accelerators linacs emittance cavities
physics.ao-ph 3 oceans climate convection turbulence
physics.app-ph 6 thermoelectric devices metamaterials sensors
physics.atm-clus 1 clusters fragmentation ionization magic-numbers
physics.atom-ph 6 ions spectroscopy clocks Rydberg
physics.bio-ph 4 motors membranes swimming elasticity
physics.chem-ph 7 molecules density-functional potential-energy reactions
physics.class-ph 3 electrodynamics mechanics rigid-bodies radiation
physics.comp-ph 5 Monte-Carlo solvers simulations parallel
physics.data-an 3 fitting noise time-series unfolding
physics.ed-ph 2 students teaching laboratories misconceptions
physics.flu-dyn 9 turbulence vortices drag instabilities
physics.gen-ph 5 gravitation foundations constants speculation
physics.geo-ph 3 seismology earthquakes faults inversion
physics.hist-ph 2 Einstein historiography interpretations philosophy
physics.ins-det 5 scintillators photomultipliers readout calibration
physics.med-ph 3 dosimetry radiotherapy imaging tomography
physics.optics 11 photonics resonators nonlinear solitons
physics.plasm-ph 5 tokamak plasmas instabilities wakefields
physics.pop-ph 1 outreach essays puzzles
physics.soc-ph 5 epidemics cities cooperation mobility
physics.space-ph 2 magnetosphere solar-wind ionosphere reconnection
plasm-ph 0.02 sheaths instabilities confinement
q-alg 0.5 knots R-matrices vertex-algebras Yangians
q-bio 0.2 sequences populations models
q-bio.BM 2 proteins folding docking helices
q-bio.CB 1 migration signaling tumors chemotaxis
q-bio.GN 2 genomes alignment expression variants
q-bio.MN 1 regulation metabolism pathways switches
q-bio.NC 4 spikes cortex synapses oscillations
q-bio.OT 0.4 theory origins complexity
q-bio.PE 4 epidemics fitness phylogenies mutation
q-bio.QM 4 sequencing imaging assays biomarkers
q-bio.SC 1 cytoskeleton motors transport membranes
q-bio.TO 1 morphogenesis tissues vasculature growth
q-fin.CP 1 pricing lattices Monte-Carlo calibration
q-fin.EC 0.7 growth firms wealth trade
q-fin.GN 0.6 markets banks networks crypto-currencies
q-fin.MF 2 derivatives martingales arbitrage utility
q-fin.PM 0.6 portfolios utility allocation drawdown
q-fin.PR 0.8 options smiles Levy-processes swaps
q-fin.RM 0.7 credit value-at-risk capital defaults
q-fin.ST 2 correlations stocks crashes volumes
q-fin.TR 0.7 order-books liquidity execution spreads
quant-ph 62 decoherence teleportation cryptography error-correction nonlocality tomography
solv-int 0.4 hierarchies Toda Painleve Backlund
stat.AP 4 surveys forecasting spatial epidemiology
stat.CO 2 sampling MCMC software particle-filters
stat.ME 8 causal-inference variable-selection bootstrap missing-data
stat.ML 14 kernels Gaussian-processes variational bandits
stat.OT 0.4 teaching practice history
supr-con 0.06 cuprates vortices pairing
"""


def categories() -> tuple[Category, ...]:
    """All categories, sorted by name."""
    found = []
    for line in _TABLE.split("\n"):
        if line:
            name, share, *words = line.split()
            found.append(Category(name, name.split(".")[0], float(share), tuple(words)))
    return tuple(sorted(found))


def field_of(archive: str) -> str:
    """The group of archives that an archive belongs to."""
    return next(field for field, members in FIELDS.items() if archive in members)
