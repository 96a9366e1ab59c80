"""Names of the tensors in a batch of crystal graphs: the one table that models and loaders share.

N atoms, E bonds, T angles, B structures, all summed over the batch. Real numbers have the dtype
asked of :func:`opalign.crystal.graph.collate` (``float32`` unless told otherwise).

==================  =============  ===============  ==============================================
key                 shape, dtype   unit             meaning
==================  =============  ===============  ==============================================
``atomic_numbers``  (N,) int64     –                1 … 118
``bond_index``      (2, E) int64   –                row 0 source atom, row 1 target atom; sorted
                                                    by target
``bond_vector``     (E, 3) real    Å                from source to target
``bond_length``     (E,) real      Å                norm of ``bond_vector``
``bond_image``      (E, 3) int64   lattice vectors  cell of the target, from that of the source
``angle_index``     (2, T) int64   –                row 0 source bond a→b, row 1 target bond b→c,
                                                    c = a included; sorted by target bond
``angle_cosine``    (T,) real      –                cosine of the angle a–b–c, in [−1, 1]
``num_atoms``       (B,) int64     –                atoms of each structure
``num_bonds``       (B,) int64     –                bonds of each structure
``num_angles``      (B,) int64     –                angles of each structure
``atom_structure``  (N,) int64     –                index of the structure an atom belongs to
``volume``          (B,) real      Å³               of the cell
==================  =============  ===============  ==============================================

A symmetry-reduced batch (:func:`opalign.crystal.quotient.collate_quotients`) has one row for each
*class* of atoms, bonds and angles in place of N, E and T, save that ``num_atoms`` still counts
atoms; no ``bond_vector`` and no ``bond_image``; and these besides:

======================  =============  =============================================================
``atom_class``          (N,) int64     row of the class of every atom of the crystals
``atom_multiplicity``   (A,) real      atoms of a class
``bond_multiplicity``   (E,) real      bonds of a class that end at one atom
``angle_multiplicity``  (T,) real      angles of a class that end at one bond
======================  =============  =============================================================

Graphs built without angles have none of ``angle_index``,
``angle_cosine``, ``num_angles``, ``angle_multiplicity``.
"""

from __future__ import annotations

from typing import Final

ATOMIC_NUMBERS: Final = "atomic_numbers"
BOND_INDEX: Final = "bond_index"
BOND_VECTOR: Final = "bond_vector"
BOND_LENGTH: Final = "bond_length"
BOND_IMAGE: Final = "bond_image"
ANGLE_INDEX: Final = "angle_index"
ANGLE_COSINE: Final = "angle_cosine"
NUM_ATOMS: Final = "num_atoms"
NUM_BONDS: Final = "num_bonds"
NUM_ANGLES: Final = "num_angles"
ATOM_STRUCTURE: Final = "atom_structure"
VOLUME: Final = "volume"
ATOM_CLASS: Final = "atom_class"
ATOM_MULTIPLICITY: Final = "atom_multiplicity"
BOND_MULTIPLICITY: Final = "bond_multiplicity"
ANGLE_MULTIPLICITY: Final = "angle_multiplicity"
