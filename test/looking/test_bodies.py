from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fourd_perception.looking.bodies import find_bodies
from fourd_perception.looking.voxels import VoxelTable, pack, sort_into_voxels, unpack

clouds = st.builds(
    lambda seed, count, spread: (
        np.random.default_rng(seed).normal(0, spread, (count, 3)).astype(np.float32)
    ),
    st.integers(0, 2**32 - 1), st.integers(0, 300), st.sampled_from([0.05, 0.3, 1.0, 30.0]),
)  # fmt: skip


def components(places: np.ndarray, distance: float, norm: float) -> np.ndarray:
    """The textbook's: all pairs that are near, and what hangs together by them."""
    if not len(places):
        return np.empty(0, int)
    pairs = cKDTree(places).query_pairs(distance, p=norm, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), (len(places), len(places)))
    return connected_components(graph, directed=False)[1]


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two numberings part the points in the same way."""
    pairs = {(a, b) for a, b in zip(one.tolist(), other.tolist())}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@given(clouds, st.floats(0.02, 0.5), st.integers(0, 2**32 - 1))
def test_bodies_are_the_connected_components_of_touching_cubes(points, gap, seed):
    among = np.random.default_rng(seed).random(len(points)) < 0.8
    bodies = find_bodies(points, among, gap)
    assert (bodies.of_points[~among] == -1).all()
    cubes = np.floor(points[among].astype(np.float64) / gap)
    assert same_parts(bodies.of_points[among], components(cubes, 1.0, np.inf))


@given(clouds, st.floats(0.02, 0.5))
def test_near_points_stay_together_and_far_ones_apart(points, gap):
    found = find_bodies(points, np.ones(len(points), bool), gap).of_points
    wide = points.astype(np.float64)
    nearer = components(wide, 0.999 * gap, 2)
    farther = components(wide, 2 * np.sqrt(3) * gap * 1.001, 2)
    for finer, coarser in ((nearer, found), (found, farther)):
        pairs = {(a, b) for a, b in zip(finer.tolist(), coarser.tolist())}
        assert len(pairs) == len({a for a, _ in pairs})  # each finer part lies in one coarser


@given(clouds, st.floats(0.02, 0.5))
def test_each_body_is_measured_by_its_own_points(points, gap):
    bodies = find_bodies(points, np.ones(len(points), bool), gap)
    assert len(bodies) == len(np.unique(bodies.of_points))
    for body in range(len(bodies)):
        own = points[bodies.of_points == body].astype(np.float64)
        assert np.allclose(bodies.low[body], own.min(axis=0))
        assert np.allclose(bodies.high[body], own.max(axis=0))
        assert np.allclose(bodies.centre[body], own.mean(axis=0), atol=1e-6)
        cubes = len(np.unique(np.floor(own / gap), axis=0))
        assert np.isclose(bodies.areas[body], cubes * gap**2)
    order = list(dict.fromkeys(bodies.of_points.tolist()))
    assert order == sorted(order)


def test_what_is_not_finite_or_beyond_all_cubes_is_in_no_body():
    points = np.array(
        [[0, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0], [1e30, 0, 0], [0.01, 0, 0]], np.float32
    )
    assert find_bodies(points, np.ones(5, bool), 0.1).of_points.tolist() == [0, -1, -1, -1, 0]


@given(clouds, clouds, st.floats(0.05, 0.5))
def test_a_table_knows_its_cubes_and_no_others(known, asked, size):
    table, numbers = sort_into_voxels(known, np.ones(len(known), bool), size)
    cubes = np.floor(known.astype(np.float64) / size).astype(np.int64)
    assert np.array_equal(table.coordinates[numbers], cubes)
    expected = {tuple(one) for one in cubes.tolist()}
    other = np.floor(asked.astype(np.float64) / size).astype(np.int64)
    wanted = [tuple(one) in expected for one in other.tolist()]
    for made in (table, VoxelTable.of(table.coordinates)):
        assert made.contain(asked, np.ones(len(asked), bool), size).tolist() == wanted
    assert not table.contain(known, np.zeros(len(known), bool), size).any()


@given(st.lists(st.tuples(*(st.integers(-(2**20), 2**20 - 1) for _ in range(3)))))
def test_a_packed_cube_is_unpacked_as_it_was_and_keeps_its_order(cubes):
    coordinates = np.array(cubes, np.int64).reshape(-1, 3)
    keys = pack(coordinates)
    assert unpack(keys).tolist() == coordinates.tolist()
    assert [cubes[place] for place in np.argsort(keys, kind="stable")] == sorted(cubes)
