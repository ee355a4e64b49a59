// top_s of a stream of entries (value, row, column) that is never stored, by all blocks of a
// cooperative launch.
//
// Entries come in waves. A histogram of the magnitudes of everything offered so far gives a lower
// bound of the s-th largest, the threshold; entries at or above it are appended to a buffer of a
// few times s. When a warp finds no room, all blocks meet, a radix select (digits of 8 bits,
// largest first) cuts the buffer to the best s, the threshold rises, and every warp goes on with
// what it hadn't offered yet. Which entries come out depends on the set that went in, not on the
// order of blocks: larger magnitude first, ties by lower (row, column), exact zeros never. The
// result is sorted by a radix sort, least digit first.
//
// All functions are called by all threads of the grid. `grid` barriers in them order the memory of
// all blocks; the shared memory in `scratch` is free before and after every call.
#ifndef RELIHT_KERNELS_SELECT_CUH
#define RELIHT_KERNELS_SELECT_CUH

#include "kernels/grid.cuh"
#include "kernels/select.h"

#include <cub/block/block_radix_rank.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/block/radix_rank_sort_operations.cuh>

namespace reliht
{

using cooperative_groups::grid_group;

constexpr uint32_t SELECT_INFINITE = 0x7f800000u;
// Entries a thread ranks at once in the sort.
constexpr unsigned SELECT_ITEMS = 4;
constexpr unsigned SELECT_TILE = SELECT_ITEMS * BLOCK_THREADS;
constexpr unsigned SELECT_MAGNITUDE_DIGITS = 4;
static_assert(SELECT_DIGITS == BLOCK_THREADS, "a thread for every digit");
static_assert(SELECT_BINS % BLOCK_THREADS == 0, "as many bins for every thread");

struct select_scratch {
    using scan = cub::BlockScan<uint32_t, BLOCK_THREADS>;
    using rank = cub::BlockRadixRankMatch<BLOCK_THREADS, 8, false>;
    union {
        uint32_t bins[SELECT_BINS];
        typename rank::TempStorage rank_storage;
    };
    typename scan::TempStorage scan_storage;
    uint32_t digit[SELECT_DIGITS];
    uint32_t base[SELECT_DIGITS];
    uint32_t found[3]; // of find_bin
};

struct select_entry {
    float value;
    uint64_t place;
};

__device__ __forceinline__ uint32_t magnitude_of(float value)
{
    return __float_as_uint(value) & 0x7fffffffu;
}

__device__ __forceinline__ unsigned thread_of_grid()
{
    return blockIdx.x * BLOCK_THREADS + threadIdx.x;
}

__device__ __forceinline__ unsigned threads_of_grid()
{
    return gridDim.x * BLOCK_THREADS;
}

// ---------------------------------------------------------------- keys

__device__ __forceinline__ unsigned place_digits(const device_select &self)
{
    return (self.place_bits + 7) / 8;
}

// Entries are compared by their magnitude, then by their place complemented: the larger key is the
// better entry. `digits` of the highest digits of such a key, the rest zero.
struct select_bound {
    uint32_t magnitude;
    uint64_t place;
    unsigned digits;
};

__device__ __forceinline__ uint64_t complemented(const device_select &self, uint64_t place)
{
    return ~place & (~uint64_t(0) >> (64 - 8 * place_digits(self)));
}

// Digit number `digit` of the key of an entry, the highest first.
__device__ __forceinline__ uint32_t key_digit(const device_select &self, const select_entry &entry,
                                              unsigned digit)
{
    if (digit < SELECT_MAGNITUDE_DIGITS)
        return magnitude_of(entry.value) >> (24 - 8 * digit) & 255;
    unsigned last = SELECT_MAGNITUDE_DIGITS + place_digits(self) - 1;
    return (uint32_t)(complemented(self, entry.place) >> 8 * (last - digit)) & 255;
}

// -1, 0 or 1: the first digits of the entry's key against those of the bound.
__device__ __forceinline__ int compare(const device_select &self, const select_entry &entry,
                                       const select_bound &bound)
{
    unsigned digits = bound.digits;
    if (digits == 0)
        return 0;
    unsigned cut = digits < SELECT_MAGNITUDE_DIGITS ? 32 - 8 * digits : 0;
    uint32_t magnitude = magnitude_of(entry.value) >> cut << cut;
    if (magnitude != bound.magnitude)
        return magnitude > bound.magnitude ? 1 : -1;
    if (digits <= SELECT_MAGNITUDE_DIGITS)
        return 0;
    cut = 8 * (SELECT_MAGNITUDE_DIGITS + place_digits(self) - digits);
    uint64_t place = complemented(self, entry.place) >> cut << cut;
    return place == bound.place ? 0 : place > bound.place ? 1 : -1;
}

__device__ __forceinline__ void append_digit(const device_select &self, select_bound &bound,
                                             uint32_t digit)
{
    if (bound.digits < SELECT_MAGNITUDE_DIGITS) {
        bound.magnitude |= digit << (24 - 8 * bound.digits);
    } else {
        unsigned last = SELECT_MAGNITUDE_DIGITS + place_digits(self) - 1;
        bound.place |= (uint64_t)digit << 8 * (last - bound.digits);
    }
    bound.digits++;
}

// ---------------------------------------------------------------- histograms

struct select_bin {
    bool found;
    uint32_t bin, above, count; // entries in higher bins, and in this one
};

// The bin of bins[0 .. PER_THREAD * BLOCK_THREADS) in which the entry number `wanted` (from 1) from
// the top lies.
template <unsigned PER_THREAD>
__device__ select_bin find_bin(const uint32_t *bins, uint32_t wanted, select_scratch &scratch)
{
    uint32_t sum = 0, above;
    unsigned top = (BLOCK_THREADS - threadIdx.x) * PER_THREAD - 1;
    for (unsigned i = 0; i < PER_THREAD; i++)
        sum += bins[top - i];
    if (threadIdx.x == 0)
        scratch.found[0] = UINT32_MAX;
    select_scratch::scan(scratch.scan_storage).ExclusiveSum(sum, above);
    __syncthreads();
    if (above < wanted && wanted - above <= sum) {
        for (; wanted - above > bins[top]; top--)
            above += bins[top];
        scratch.found[0] = top;
        scratch.found[1] = above;
        scratch.found[2] = bins[top];
    }
    __syncthreads();
    select_bin result = {scratch.found[0] != UINT32_MAX, scratch.found[0], scratch.found[1],
                         scratch.found[2]};
    __syncthreads();
    return result;
}

// Finds digit by digit the bound that exactly self.keep of the entries reach; there are more.
// Entries: count(), at(i).
template <typename Entries>
__device__ select_bound find_bound(grid_group &grid, const device_select &self,
                                   const Entries &entries, select_scratch &scratch)
{
    select_bound bound = {0, 0, 0};
    uint32_t wanted = self.keep;
    for (unsigned digit = 0; digit < SELECT_MAGNITUDE_DIGITS + place_digits(self); digit++) {
        uint32_t *bins = self.digits + digit * SELECT_DIGITS;
        scratch.digit[threadIdx.x] = 0;
        __syncthreads();
        for (uint64_t i = thread_of_grid(); i < entries.count(); i += threads_of_grid()) {
            select_entry entry = entries.at((uint32_t)i);
            if (magnitude_of(entry.value) && compare(self, entry, bound) == 0)
                atomicAdd(&scratch.digit[key_digit(self, entry, digit)], 1u);
        }
        __syncthreads();
        if (scratch.digit[threadIdx.x])
            atomicAdd(&bins[threadIdx.x], scratch.digit[threadIdx.x]);
        grid.sync();
        select_bin bin = find_bin<1>(bins, wanted, scratch);
        if (!bin.found) // fewer than `keep`: all are kept
            return {1, 0, SELECT_MAGNITUDE_DIGITS};
        append_digit(self, bound, bin.bin);
        wanted -= bin.above;
        if (bin.count == wanted)
            break;
    }
    return bound;
}

// kept <- the entries that reach the bound, in any order.
template <typename Entries>
__device__ void keep_best(const device_select &self, const Entries &entries,
                          const select_bound &bound)
{
    for (uint64_t i = thread_of_grid(); i < entries.count(); i += threads_of_grid()) {
        select_entry entry = entries.at((uint32_t)i);
        if (!magnitude_of(entry.value) || compare(self, entry, bound) < 0)
            continue;
        uint32_t at = atomicAdd(&self.scalars->kept, 1u);
        self.kept_value[at] = entry.value;
        self.kept_place[at] = entry.place;
    }
}

// candidates <- kept, and all that a cut needs is as before.
__device__ inline void take_kept(const device_select &self, const select_bound &bound)
{
    uint32_t kept = self.scalars->kept;
    for (uint32_t i = thread_of_grid(); i < kept; i += threads_of_grid()) {
        self.value[i] = self.kept_value[i];
        self.place[i] = self.kept_place[i];
    }
    for (uint32_t i = thread_of_grid(); i < SELECT_KEY_DIGITS * SELECT_DIGITS;
         i += threads_of_grid())
        self.digits[i] = 0;
    if (thread_of_grid() == 0) {
        self.scalars->count = kept;
        self.scalars->full = 0;
        if (bound.magnitude > self.scalars->threshold)
            self.scalars->threshold = bound.magnitude;
    }
}

struct candidate_entries {
    const device_select &self;
    uint32_t entries;

    __device__ uint32_t count() const
    {
        return entries;
    }

    __device__ select_entry at(uint32_t i) const
    {
        return {self.value[i], self.place[i]};
    }
};

// Cuts the candidates to the best self.keep. Begins and ends after a barrier of the grid.
__device__ inline void select_cut(grid_group &grid, const device_select &self,
                                  select_scratch &scratch)
{
    const candidate_entries entries = {self, self.scalars->count};
    if (entries.entries <= self.keep)
        return;
    select_bound bound = find_bound(grid, self, entries, scratch);
    keep_best(self, entries, bound);
    grid.sync();
    take_kept(self, bound);
    grid.sync();
    if (thread_of_grid() == 0)
        self.scalars->kept = 0;
}

// ---------------------------------------------------------------- offers

// Forgets everything. A barrier of the grid must follow before anything is offered.
__device__ inline void select_reset(const device_select &self)
{
    for (uint32_t i = thread_of_grid(); i < SELECT_BINS; i += threads_of_grid())
        self.bins[i] = 0;
    for (uint32_t i = thread_of_grid(); i < SELECT_KEY_DIGITS * SELECT_DIGITS;
         i += threads_of_grid())
        self.digits[i] = 0;
    if (thread_of_grid() == 0)
        // The smallest denormal: everything but zero.
        *self.scalars = {.invalid = SELECT_VALID, .count = 0, .kept = 0, .threshold = 1, .full = 0};
}

// Counts the magnitudes of a wave that reach the threshold; a lower bound of the s-th largest
// magnitude offered so far.
template <typename Source>
__device__ uint32_t raise_threshold(grid_group &grid, const device_select &self,
                                    const Source &source, select_scratch &scratch)
{
    constexpr unsigned SHIFT = 31 - SELECT_BIN_BITS;
    uint32_t threshold = self.scalars->threshold;
    for (unsigned i = threadIdx.x; i < SELECT_BINS; i += BLOCK_THREADS)
        scratch.bins[i] = 0;
    __syncthreads();
    for (uint32_t piece = blockIdx.x; piece < source.pieces(); piece += gridDim.x)
        for (uint32_t i = threadIdx.x; i < source.entries(); i += BLOCK_THREADS) {
            uint32_t magnitude = magnitude_of(source.value(piece, i));
            if (magnitude >= threshold && magnitude < SELECT_INFINITE)
                atomicAdd(&scratch.bins[magnitude >> SHIFT], 1u);
        }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < SELECT_BINS; i += BLOCK_THREADS)
        if (scratch.bins[i])
            atomicAdd(&self.bins[i], scratch.bins[i]);
    grid.sync();
    select_bin bin = find_bin<SELECT_BINS / BLOCK_THREADS>(self.bins, self.keep, scratch);
    if (bin.found && bin.bin << SHIFT > threshold)
        threshold = bin.bin << SHIFT;
    if (thread_of_grid() == 0)
        self.scalars->threshold = threshold;
    return threshold;
}

// Room for `count` candidates, UINT32_MAX if there is none: then nothing is taken.
__device__ inline uint32_t reserve(const device_select &self, uint32_t count)
{
    uint32_t seen = *(volatile uint32_t *)&self.scalars->count;
    for (;;) {
        if (count > self.capacity - seen)
            return UINT32_MAX;
        uint32_t before = atomicCAS(&self.scalars->count, seen, seen + count);
        if (before == seen)
            return seen;
        seen = before;
    }
}

// Appends what lanes found to the candidates; false (for the whole warp) if it doesn't fit.
__device__ inline bool append(const device_select &self, bool found, float value, uint64_t place)
{
    unsigned finders = __ballot_sync(ALL_LANES, found);
    if (!finders)
        return true;
    uint32_t at = 0;
    if (lane_index() == 0)
        at = reserve(self, __popc(finders));
    at = __shfl_sync(ALL_LANES, at, 0);
    if (at == UINT32_MAX)
        return false;
    if (found) {
        at += __popc(finders & ((1u << lane_index()) - 1));
        self.value[at] = value;
        self.place[at] = place;
    }
    return true;
}

// Where a warp is in a wave.
struct select_cursor {
    uint32_t piece, first;
};

// Offers what is left of the wave to this warp; false if the buffer is full.
template <typename Source>
__device__ bool offer_rest(const device_select &self, const Source &source, uint32_t threshold,
                           select_cursor &cursor)
{
    for (; cursor.piece < source.pieces(); cursor.piece += gridDim.x) {
        for (; cursor.first < source.entries(); cursor.first += BLOCK_THREADS) {
            uint32_t i = cursor.first + lane_index();
            float value = i < source.entries() ? source.value(cursor.piece, i) : 0.0f;
            uint32_t magnitude = magnitude_of(value);
            bool found = magnitude >= threshold;
            uint64_t place = 0;
            if (found) {
                uint32_t row, column;
                source.place(cursor.piece, i, row, column);
                place = (uint64_t)row << self.column_bits | column;
            }
            if (found && magnitude >= SELECT_INFINITE) {
                atomicMin((unsigned long long *)&self.scalars->invalid,
                          (unsigned long long)(place << 1 | (magnitude > SELECT_INFINITE)));
                found = false;
            }
            if (!append(self, found, value, place))
                return false;
        }
        cursor.first = warp_index() * WARP;
    }
    return true;
}

// Offers a wave of entries. Source: pieces() of the wave, which are dealt out to blocks, entries()
// of a piece, value(piece, i) - zero where there is no entry - and place(piece, i, row, column);
// values are asked for more than once. Begins after a barrier of the grid and ends with one.
template <typename Source>
__device__ void select_offer_wave(grid_group &grid, const device_select &self, const Source &source,
                                  select_scratch &scratch)
{
    uint32_t threshold = raise_threshold(grid, self, source, scratch);
    select_cursor cursor = {blockIdx.x, warp_index() * WARP};
    for (;;) {
        if (!offer_rest(self, source, threshold, cursor) && lane_index() == 0)
            self.scalars->full = 1;
        grid.sync();
        if (!self.scalars->full)
            return;
        select_cut(grid, self, scratch);
        threshold = self.scalars->threshold;
    }
}

// ---------------------------------------------------------------- order

// The part of entries 0 .. count - 1 that a block sorts.
struct select_share {
    uint32_t first, last, sorters;
};

__device__ inline select_share share_of(uint32_t count)
{
    uint32_t tiles = (uint32_t)(((uint64_t)count + SELECT_TILE - 1) / SELECT_TILE);
    uint32_t sorters = min(min(gridDim.x, SELECT_SORTERS), tiles);
    if (blockIdx.x >= sorters)
        return {0, 0, sorters};
    uint32_t length = (tiles + sorters - 1) / sorters * SELECT_TILE;
    uint64_t first = (uint64_t)blockIdx.x * length;
    uint64_t last = first + length;
    return {(uint32_t)(first < count ? first : count), (uint32_t)(last < count ? last : count),
            sorters};
}

__device__ inline void count_digits(const device_select &self, const uint64_t *place,
                                    const select_share &share, unsigned shift,
                                    select_scratch &scratch)
{
    if (blockIdx.x >= share.sorters)
        return;
    scratch.digit[threadIdx.x] = 0;
    __syncthreads();
    for (uint32_t i = share.first + threadIdx.x; i < share.last; i += BLOCK_THREADS)
        atomicAdd(&scratch.digit[place[i] >> shift & 255], 1u);
    __syncthreads();
    self.sorters[blockIdx.x * SELECT_DIGITS + threadIdx.x] = scratch.digit[threadIdx.x];
    __syncthreads();
}

// base[digit] <- where this block's first entry with that digit goes.
__device__ inline void place_digit_bases(const device_select &self, const select_share &share,
                                         select_scratch &scratch)
{
    uint32_t before = 0, total = 0, base;
    for (uint32_t b = 0; b < share.sorters; b++) {
        uint32_t count = self.sorters[b * SELECT_DIGITS + threadIdx.x];
        if (b < blockIdx.x)
            before += count;
        total += count;
    }
    select_scratch::scan(scratch.scan_storage).ExclusiveSum(total, base);
    scratch.base[threadIdx.x] = base + before;
    __syncthreads();
}

// Moves a tile of entries to their places for one digit; equal digits stay in order.
__device__ inline void scatter_tile(const float *value, const uint64_t *place, float *to_value,
                                    uint64_t *to_place, uint32_t tile, uint32_t last,
                                    unsigned shift, select_scratch &scratch)
{
    uint32_t digit[SELECT_ITEMS];
    int rank[SELECT_ITEMS], before[1];
    uint32_t first = tile + warp_index() * WARP * SELECT_ITEMS + lane_index();
    for (unsigned i = 0; i < SELECT_ITEMS; i++)
        digit[i] =
            first + i * WARP < last ? (uint32_t)(place[first + i * WARP] >> shift & 255) : 255u;
    select_scratch::rank(scratch.rank_storage)
        .RankKeys(digit, rank, cub::BFEDigitExtractor<uint32_t>(0, 8), before);
    scratch.digit[threadIdx.x] = (uint32_t)before[0];
    __syncthreads();
    for (unsigned i = 0; i < SELECT_ITEMS; i++)
        if (first + i * WARP < last) {
            uint32_t to = scratch.base[digit[i]] + (uint32_t)rank[i] - scratch.digit[digit[i]];
            to_value[to] = value[first + i * WARP];
            to_place[to] = place[first + i * WARP];
        }
    __syncthreads();
    // Only the last tile is short, and nothing follows it.
    uint32_t next = threadIdx.x + 1 < SELECT_DIGITS ? scratch.digit[threadIdx.x + 1] : SELECT_TILE;
    scratch.base[threadIdx.x] += next - scratch.digit[threadIdx.x];
    __syncthreads();
}

// Where the sorted entries lie.
struct select_sorted {
    const float *value;
    const uint64_t *place;
};

__device__ inline select_sorted sort_places(grid_group &grid, const device_select &self,
                                            uint32_t count, select_scratch &scratch)
{
    const select_share share = share_of(count);
    float *value = self.value, *to_value = self.kept_value;
    uint64_t *place = self.place, *to_place = self.kept_place;
    for (unsigned shift = 0; shift < self.place_bits; shift += 8) {
        count_digits(self, place, share, shift, scratch);
        grid.sync();
        if (blockIdx.x < share.sorters) {
            place_digit_bases(self, share, scratch);
            for (uint32_t tile = share.first; tile < share.last; tile += SELECT_TILE)
                scatter_tile(value, place, to_value, to_place, tile, share.last, shift, scratch);
        }
        grid.sync();
        float *swap_value = value;
        value = to_value;
        to_value = swap_value;
        uint64_t *swap_place = place;
        place = to_place;
        to_place = swap_place;
    }
    return {value, place};
}

// Whether a row begins at entry i.
__device__ __forceinline__ bool begins_row(const device_select &self, const uint64_t *place,
                                           uint32_t i)
{
    return i == 0 || place[i] >> self.column_bits != place[i - 1] >> self.column_bits;
}

__device__ inline void count_rows(const device_select &self, const uint64_t *place,
                                  const select_share &share)
{
    if (blockIdx.x >= share.sorters)
        return;
    uint32_t rows = 0;
    for (uint32_t first = share.first; first < share.last; first += BLOCK_THREADS) {
        uint32_t i = first + threadIdx.x;
        rows += (uint32_t)__syncthreads_count(i < share.last && begins_row(self, place, i));
    }
    if (threadIdx.x == 0)
        self.sorters[blockIdx.x * SELECT_DIGITS] = rows;
}

// out <- the sorted entries by rows.
__device__ inline void write_rows(const device_select &self, const select_sorted &sorted,
                                  const select_share &share, uint32_t count, device_sparse out,
                                  select_scratch &scratch)
{
    if (blockIdx.x >= share.sorters)
        return;
    uint32_t live = 0;
    for (uint32_t b = 0; b < blockIdx.x; b++)
        live += self.sorters[b * SELECT_DIGITS];
    for (uint32_t first = share.first; first < share.last; first += BLOCK_THREADS) {
        uint32_t i = first + threadIdx.x, before, rows;
        bool begins = i < share.last && begins_row(self, sorted.place, i);
        select_scratch::scan(scratch.scan_storage).ExclusiveSum((uint32_t)begins, before, rows);
        __syncthreads();
        if (begins) {
            out.row[live + before] = (uint32_t)(sorted.place[i] >> self.column_bits);
            out.start[live + before] = i;
        }
        if (i < share.last) {
            out.column[i] = (uint32_t)(sorted.place[i] & ((uint64_t(1) << self.column_bits) - 1));
            out.value[i] = sorted.value[i];
        }
        live += rows;
    }
    if (share.last == count && share.first < count && threadIdx.x == 0) {
        out.start[live] = count;
        out.counts[COUNT_NNZ] = count;
        out.counts[COUNT_LIVE] = live;
    }
}

// out <- the candidates, at most self.keep, sorted by (row, column). Begins after a barrier of the
// grid and ends with one.
__device__ inline void select_write(grid_group &grid, const device_select &self, device_sparse out,
                                    select_scratch &scratch)
{
    const uint32_t count = self.scalars->count;
    const select_share share = share_of(count);
    select_sorted sorted = sort_places(grid, self, count, scratch);
    count_rows(self, sorted.place, share);
    if (count == 0 && thread_of_grid() == 0)
        out.start[0] = out.counts[COUNT_NNZ] = out.counts[COUNT_LIVE] = 0;
    grid.sync();
    write_rows(self, sorted, share, count, out, scratch);
    grid.sync();
}

// out <- the best self.keep entries offered. Begins after a barrier of the grid and ends with one.
__device__ inline void select_finish(grid_group &grid, const device_select &self, device_sparse out,
                                     select_scratch &scratch)
{
    select_cut(grid, self, scratch);
    select_write(grid, self, out, scratch);
}

} // namespace reliht

#endif
