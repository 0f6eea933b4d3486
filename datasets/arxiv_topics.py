"""The archives and categories of arXiv, with their rough shares and typical words.

Shares are in per mille of all papers, rounded by hand from the public monthly statistics; they
only have to give a realistic skew. A category's words stand after its share.
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
    "computing": ("cs", "stat", "eess"),
    "mathematics": ("math", "math-ph", "nlin"),
    "particles": ("hep-th", "hep-ph", "hep-ex", "hep-lat", "gr-qc", "nucl-th", "nucl-ex"),
    "matter": ("cond-mat", "quant-ph", "physics"),
    "sky": ("astro-ph",),
    "society": ("econ", "q-fin", "q-bio"),
}

ARCHIVE_WORDS: dict[str, str] = {
    "astro-ph": "observations galaxies spectra redshift luminosity telescope catalog emission",
    "cond-mat": "lattice phase electrons transition temperature disorder excitations samples",
    "cs": "algorithms benchmarks networks data systems datasets complexity software",
    "econ": "markets agents equilibrium incentives welfare policy preferences prices",
    "eess": "signals channels sensors estimation receivers bandwidth antennas filters",
    "gr-qc": "spacetime metrics curvature horizons gravity relativity cosmology tensors",
    "hep-ex": "collisions detector events luminosity decays measurements jets backgrounds",
    "hep-lat": "lattices quarks simulations fermions discretization gauge propagators",
    "hep-ph": "quarks decays couplings neutrinos corrections phenomenology bosons amplitudes",
    "hep-th": "strings branes gauge duality supersymmetry holography operators correlators",
    "math": "manifolds theorems operators groups equations inequalities conjectures proofs",
    "math-ph": "operators symmetries hamiltonians integrals spectra representations algebras",
    "nlin": "oscillators chaos solitons bifurcations attractors dynamics waves patterns",
    "nucl-ex": "nuclei beams isotopes targets measurements collisions yields detectors",
    "nucl-th": "nuclei nucleons shells potentials isotopes pairing forces reactions",
    "physics": "experiments fields particles flows waves instruments materials lasers",
    "q-bio": "cells proteins genes populations evolution neurons sequences organisms",
    "q-fin": "portfolios returns volatility options risk prices hedging assets",
    "quant-ph": "qubits entanglement measurements channels states circuits coherence gates",
    "stat": "estimators priors samples likelihood regression inference covariates tests",
}

_TABLE = """
astro-ph.CO 20 cosmological inflation dark-energy lensing anisotropies halos
astro-ph.EP 10 planets exoplanets transits orbits asteroids atmospheres
astro-ph.GA 22 star-formation quasars clusters dust metallicity kinematics
astro-ph.HE 18 pulsars gamma-ray supernovae accretion bursts cosmic-rays
astro-ph.IM 6 calibration instrumentation pipelines mirrors interferometers photometry
astro-ph.SR 16 stars binaries flares asteroseismology winds sunspots
cond-mat.dis-nn 4 spin-glasses localization randomness networks landscapes
cond-mat.mes-hall 20 graphene nanowires conductance quantum-dots topology edge-states
cond-mat.mtrl-sci 22 alloys band-structure oxides semiconductors phonons defects
cond-mat.quant-gas 4 condensates ultracold bosons traps vortices
cond-mat.soft 9 colloids polymers gels membranes glasses emulsions
cond-mat.stat-mech 14 critical-exponents fluctuations entropy Ising percolation diffusion
cond-mat.str-el 18 Hubbard magnetism spin-liquids Mott correlations doping
cond-mat.supr-con 12 superconductors cuprates pairing gaps vortices magnetization
cs.AI 18 planning reasoning knowledge agents heuristics constraints
cs.CC 4 hardness reductions circuits NP-completeness oracles
cs.CL 22 translation parsing transformers corpora embeddings language-models
cs.CR 9 encryption attacks privacy malware authentication
cs.CV 34 segmentation images detection convolutional pose video
cs.CY 4 fairness education society accountability regulation
cs.DB 5 queries indexes joins transactions provenance
cs.DC 6 scheduling consensus parallelism clusters latency
cs.DM 4 graphs colorings matchings hypergraphs permutations
cs.DS 9 approximation streaming sketching shortest-paths data-structures
cs.GT 4 auctions mechanisms games equilibria bidding
cs.HC 4 interfaces users visualization accessibility interaction
cs.IR 6 retrieval ranking recommendation relevance queries
cs.IT 14 codes capacity entropy decoding MIMO
cs.LG 45 gradient neural-networks training generalization classifiers representations
cs.LO 5 logics automata verification decidability semantics
cs.NI 6 routing wireless protocols throughput congestion
cs.RO 10 robots manipulation trajectories grasping localization
cs.SE 8 testing bugs repositories refactoring programs
cs.SI 5 communities influence social-media diffusion rumors
econ.EM 2 instruments identification panels treatment-effects
econ.TH 3 contracts voting matching information-design
eess.AS 4 speech speakers acoustics recognition
eess.IV 5 reconstruction tomography denoising compression
eess.SP 9 beamforming radar modulation sparsity
eess.SY 8 control stability controllers feedback
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
math.CV 5 holomorphic plurisubharmonic domains univalent
math.DG 12 Ricci minimal-surfaces connections foliations
math.DS 11 ergodic hyperbolicity entropy orbits
math.FA 9 Banach-spaces operators frames compactness
math.GN 2 compactifications metrizability continua filters
math.GR 8 subgroups commutators hyperbolic-groups automorphisms
math.GT 8 knots surfaces braids three-manifolds
math.LO 4 forcing cardinals definability models
math.NA 14 discretization finite-elements convergence preconditioners
math.NT 16 primes L-functions modular-forms Galois
math.OA 5 C*-algebras factors K-theory traces
math.OC 15 convexity optimization duality splitting
math.PR 18 martingales random-walks large-deviations branching
math.QA 6 quantum-groups Hopf-algebras categories fusion
math.RA 5 associative-algebras derivations identities gradings
math.RT 8 representations characters crystals quivers
math.SG 4 symplectic Lagrangian Floer contact
math.ST 8 minimax asymptotics testing nonparametric
nlin.CD 4 Lyapunov synchronization maps ergodicity
nlin.PS 3 breathers fronts Turing lasers
nlin.SI 3 Painleve hierarchies Lax-pairs
nucl-ex 6 heavy-ion spectroscopy beta-decay fission
nucl-th 14 shell-model mean-field nuclear-matter halo
physics.acc-ph 4 accelerators linacs emittance cavities
physics.ao-ph 3 oceans climate convection turbulence
physics.app-ph 6 thermoelectric devices metamaterials sensors
physics.atom-ph 6 ions spectroscopy clocks Rydberg
physics.bio-ph 4 motors membranes swimming elasticity
physics.chem-ph 7 molecules density-functional potential-energy reactions
physics.comp-ph 5 Monte-Carlo solvers simulations parallel
physics.flu-dyn 9 turbulence vortices drag instabilities
physics.ins-det 5 scintillators photomultipliers readout calibration
physics.optics 11 photonics resonators nonlinear solitons
physics.plasm-ph 5 tokamak plasmas instabilities wakefields
physics.soc-ph 5 epidemics cities cooperation mobility
q-bio.NC 4 spikes cortex synapses oscillations
q-bio.PE 4 epidemics fitness phylogenies mutation
q-bio.QM 4 sequencing imaging assays biomarkers
q-fin.MF 2 derivatives martingales arbitrage utility
q-fin.ST 2 correlations stocks crashes volumes
quant-ph 62 decoherence teleportation cryptography error-correction nonlocality tomography
stat.AP 4 surveys forecasting spatial epidemiology
stat.ME 8 causal-inference variable-selection bootstrap missing-data
stat.ML 14 kernels Gaussian-processes variational bandits
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
