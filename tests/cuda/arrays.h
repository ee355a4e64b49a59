// Arrays in device memory, for tests of kernels.
#ifndef RELIHT_TESTS_CUDA_ARRAYS_H
#define RELIHT_TESTS_CUDA_ARRAYS_H

extern "C" {
#include "core/selector.h"
}
#include "kernels/select.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace cuda_arrays
{

// An array in device memory; what is read must have been written, so nothing is set beforehand.
template <typename T> struct Array {
    T *data = nullptr;
    size_t count;

    explicit Array(size_t count) : count(count)
    {
        EXPECT_EQ(cudaMalloc((void **)&data, std::max<size_t>(count, 1) * sizeof(T)), cudaSuccess);
    }
    explicit Array(const std::vector<T> &from) : Array(from.size())
    {
        EXPECT_EQ(cudaMemcpy(data, from.data(), count * sizeof(T), cudaMemcpyHostToDevice),
                  cudaSuccess);
    }
    ~Array()
    {
        cudaFree(data);
    }
    Array(const Array &) = delete;
    Array &operator=(const Array &) = delete;

    std::vector<T> read(size_t first_count) const
    {
        std::vector<T> values(first_count);
        EXPECT_EQ(cudaMemcpy(values.data(), data, first_count * sizeof(T), cudaMemcpyDeviceToHost),
                  cudaSuccess);
        return values;
    }
};

struct Selection {
    Array<select_scalars> scalars{1};
    Array<uint32_t> bins{SELECT_BINS}, digits{SELECT_KEY_DIGITS * SELECT_DIGITS},
        sorters{SELECT_SORTERS * SELECT_DIGITS};
    Array<float> value, kept_value;
    Array<uint64_t> place, kept_place;
    Array<uint32_t> counts{2}, row, start, column;
    Array<float> out;
    device_select view = {};
    device_sparse result;

    Selection(size_t keep, size_t rows, size_t columns)
        : value(select_capacity(keep)), kept_value(keep), place(select_capacity(keep)),
          kept_place(keep), row(keep), start(keep + 1), column(keep), out(keep)
    {
        view.scalars = scalars.data;
        view.bins = bins.data;
        view.digits = digits.data;
        view.sorters = sorters.data;
        view.value = value.data;
        view.place = place.data;
        view.kept_value = kept_value.data;
        view.kept_place = kept_place.data;
        select_shape(&view, keep, rows, columns);
        result = {counts.data, row.data, start.data, column.data, out.data};
    }

    std::vector<entry> entries() const
    {
        std::vector<uint32_t> count = counts.read(2);
        size_t nnz = count[COUNT_NNZ], live = count[COUNT_LIVE];
        std::vector<uint32_t> rows = row.read(live), starts = start.read(live + 1),
                              columns = column.read(nnz);
        std::vector<float> values = out.read(nnz);
        std::vector<entry> found;
        for (size_t j = 0; j < live; j++)
            for (size_t k = starts[j]; k < starts[j + 1]; k++)
                found.push_back({values[k], rows[j], columns[k]});
        EXPECT_EQ(starts[live], nnz);
        return found;
    }
};

// A sparse matrix by rows in device memory.
struct Sparse {
    Array<uint32_t> counts, row, start, column;
    Array<float> value;
    device_sparse view;

    // Entries by ascending (row, column).
    explicit Sparse(const std::vector<entry> &entries)
        : Sparse(entries, rows_of(entries), starts_of(entries))
    {
    }

  private:
    Sparse(const std::vector<entry> &entries, const std::vector<uint32_t> &rows,
           const std::vector<uint32_t> &starts)
        : counts(std::vector<uint32_t>{(uint32_t)entries.size(), (uint32_t)rows.size()}), row(rows),
          start(starts), column(columns_of(entries)),
          value(values_of(entries)), view{counts.data, row.data, start.data, column.data,
                                          value.data}
    {
    }
    static std::vector<uint32_t> rows_of(const std::vector<entry> &entries)
    {
        std::vector<uint32_t> rows;
        for (const entry &e : entries)
            if (rows.empty() || rows.back() != e.row)
                rows.push_back(e.row);
        return rows;
    }
    static std::vector<uint32_t> starts_of(const std::vector<entry> &entries)
    {
        std::vector<uint32_t> starts;
        for (size_t i = 0; i < entries.size(); i++)
            if (i == 0 || entries[i].row != entries[i - 1].row)
                starts.push_back((uint32_t)i);
        starts.push_back((uint32_t)entries.size());
        return starts;
    }
    static std::vector<uint32_t> columns_of(const std::vector<entry> &entries)
    {
        std::vector<uint32_t> columns;
        for (const entry &e : entries)
            columns.push_back(e.column);
        return columns;
    }
    static std::vector<float> values_of(const std::vector<entry> &entries)
    {
        std::vector<float> values;
        for (const entry &e : entries)
            values.push_back(e.value);
        return values;
    }
};

// Samples as the device holds them: columns, padded with zeros to a multiple of 64.
struct Batch {
    uint32_t stride;
    Array<float> x;
    Array<device_batch> view;

    // columns: [inputs, samples]
    Batch(const std::vector<float> &columns, uint32_t samples, uint32_t inputs)
        : stride((samples + 63) / 64 * 64), x(padded(columns, samples, inputs, stride)),
          view(std::vector<device_batch>{{x.data, nullptr, nullptr, samples, stride, inputs, 0}})
    {
    }
    static std::vector<float> padded(const std::vector<float> &columns, uint32_t samples,
                                     uint32_t inputs, uint32_t stride)
    {
        std::vector<float> x((size_t)inputs * stride);
        for (uint32_t c = 0; c < inputs; c++)
            std::copy_n(&columns[(size_t)c * samples], samples, &x[(size_t)c * stride]);
        return x;
    }
};

} // namespace cuda_arrays

#endif
