// Reads the float32 arrays [rows, columns] of tests/data.
#ifndef RELIHT_TESTS_NPY_H
#define RELIHT_TESTS_NPY_H

#include "paths.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

struct Npy {
    size_t rows = 0, columns = 0;
    std::vector<float> values;

    float at(size_t row, size_t column) const
    {
        return values.at(row * columns + column);
    }
};

inline Npy read_npy(const std::string &name)
{
    std::ifstream file(std::string(RELIHT_TEST_DATA) + "/" + name, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (bytes.size() < 128 || bytes.find("'<f4', 'fortran_order': False") == std::string::npos)
        throw std::runtime_error("not a float32 .npy file in C order: " + name);
    Npy array;
    const char *shape = bytes.c_str() + bytes.find("'shape': (") + 10;
    if (std::sscanf(shape, "%zu, %zu)", &array.rows, &array.columns) != 2)
        throw std::runtime_error("not a matrix: " + name);
    size_t start = 10 + (unsigned char)bytes[8] + 256u * (unsigned char)bytes[9];
    array.values.resize(array.rows * array.columns);
    if (bytes.size() - start != array.values.size() * sizeof(float))
        throw std::runtime_error("wrong size: " + name);
    std::copy_n(bytes.data() + start, bytes.size() - start,
                reinterpret_cast<char *>(array.values.data()));
    return array;
}

#endif
