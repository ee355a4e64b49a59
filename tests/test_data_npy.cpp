#include "hostile.h"

extern "C" {
#include "data/dataset.h"
}

#include <cmath>
#include <cstring>
#include <unistd.h>
#include <vector>

using support::Context;
using support::little;
using support::put;
using support::TemporaryDirectory;

static std::string dictionary(const std::string &descr, bool fortran, const std::string &shape)
{
    return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") +
           ", 'shape': " + shape + ", }";
}

static std::string npy(const std::string &header, const std::string &elements, int version = 1)
{
    std::string padded = header;
    while ((padded.size() + 11) % 64)
        padded += ' ';
    padded += '\n';
    return std::string("\x93NUMPY") + (char)version + '\0' +
           little(padded.size(), version == 1 ? 2 : 4) + padded + elements;
}

template <typename Type> static std::string bytes_of(const std::vector<Type> &values)
{
    std::string bytes;
    for (Type value : values) {
        uint64_t bits = 0;
        memcpy(&bits, &value, sizeof value);
        bytes += little(bits, sizeof value);
    }
    return bytes;
}

struct Read {
    Context context{1};
    reliht_dataset *data = nullptr;
    reliht_status status;

    Read(const std::string &x, const char *y = nullptr, bool raw = false)
    {
        status = reliht_dataset_read_npy(context, x.c_str(), y, raw, &data);
    }
    ~Read()
    {
        reliht_dataset_destroy(data);
    }
    float x(size_t row, size_t column) const
    {
        if (data->element == ELEMENT_FLOAT)
            return ((float *)data->x)[column * data->stride + row];
        return data->scale * (float)((unsigned char *)data->x)[row * data->inputs + column];
    }
};

TEST(Npy, ReadsEveryTypeOrderAndVersion)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy");
    // C order [3, 2]: row r, column c holds 10 r + c; Fortran order lists the columns.
    for (bool fortran : {false, true})
        for (int version : {1, 2, 3}) {
            const std::vector<int> order = fortran ? std::vector<int>{0, 10, 20, 1, 11, 21}
                                                   : std::vector<int>{0, 1, 10, 11, 20, 21};
            const std::vector<float> f4(order.begin(), order.end());
            const std::vector<double> f8(order.begin(), order.end());
            const std::vector<unsigned char> u1(order.begin(), order.end());
            const std::pair<std::string, std::string> types[] = {
                {"<f4", bytes_of(f4)}, {"<f8", bytes_of(f8)}, {"|u1", bytes_of(u1)}};
            for (const auto &[type, elements] : types) {
                put(path, npy(dictionary(type, fortran, "(3, 2)"), elements, version));
                Read read(path, nullptr, true);
                ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
                EXPECT_EQ(reliht_dataset_samples(read.data), 3u);
                EXPECT_EQ(reliht_dataset_inputs(read.data), 2u);
                for (size_t row = 0; row < 3; row++)
                    for (size_t column = 0; column < 2; column++)
                        EXPECT_EQ(read.x(row, column), (float)(10 * row + column)) << type;
                EXPECT_EQ(read.data->y[2], 0.0f);
            }
        }
}

TEST(Npy, FlattensMoreDimensionsInCOrderWhateverTheOrder)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy");
    const size_t n = 2, a = 3, b = 4, c = 2;
    std::vector<float> c_order, fortran_order;
    auto value = [](size_t i, size_t j, size_t k, size_t l) {
        return (float)(1000 * i + 100 * j + 10 * k + l);
    };
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < a; j++)
            for (size_t k = 0; k < b; k++)
                for (size_t l = 0; l < c; l++)
                    c_order.push_back(value(i, j, k, l));
    for (size_t l = 0; l < c; l++)
        for (size_t k = 0; k < b; k++)
            for (size_t j = 0; j < a; j++)
                for (size_t i = 0; i < n; i++)
                    fortran_order.push_back(value(i, j, k, l));
    for (bool fortran : {false, true}) {
        put(path, npy(dictionary("<f4", fortran, "(2, 3, 4, 2)"),
                      bytes_of(fortran ? fortran_order : c_order)));
        Read read(path);
        ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
        for (size_t i = 0; i < c_order.size(); i++)
            EXPECT_EQ(read.x(i / 24, i % 24), c_order[i]);
    }
}

TEST(Npy, ReadsInPiecesLikeInOne)
{
    TemporaryDirectory folder;
    const size_t rows = 5000, columns = 300; // 6 MB: two pieces
    for (bool fortran : {false, true}) {
        std::vector<float> values(rows * columns);
        for (size_t i = 0; i < values.size(); i++)
            values[i] = (float)i;
        put(folder.file("x.npy"), npy(dictionary("<f4", fortran, "(5000, 300)"), bytes_of(values)));
        Read read(folder.file("x.npy"));
        ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
        for (size_t row = 0; row < rows; row += 7)
            for (size_t column = 0; column < columns; column++)
                ASSERT_EQ(read.x(row, column),
                          (float)(fortran ? column * rows + row : row * columns + column));
    }
}

TEST(Npy, BytesAreScaledUnlessRaw)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy");
    put(path, npy(dictionary("|u1", false, "(2,)"), "\xff\x33"));
    Read scaled(path), raw(path, nullptr, true);
    ASSERT_EQ(scaled.status, RELIHT_OK);
    ASSERT_EQ(raw.status, RELIHT_OK);
    EXPECT_EQ(scaled.data->element, ELEMENT_BYTE);
    EXPECT_EQ(reliht_dataset_inputs(scaled.data), 1u);
    EXPECT_FLOAT_EQ(scaled.x(0, 0), 1.0f);
    EXPECT_FLOAT_EQ(scaled.x(1, 0), 0.2f);
    EXPECT_EQ(raw.x(0, 0), 255.0f);
    EXPECT_EQ(scaled.data->preparation.kind, PREPROCESSING_PIXELS);
    EXPECT_EQ(scaled.data->preparation.scale, 1.0f / 255.0f);
    EXPECT_EQ(raw.data->preparation.scale, 1.0f);
}

TEST(Npy, TargetsAreLabelsOrRealByTheirType)
{
    TemporaryDirectory folder;
    const std::string x = folder.file("x.npy"), y = folder.file("y.npy");
    put(x, npy(dictionary("<f4", false, "(3, 1)"), std::string(12, '\0')));
    const std::pair<std::string, std::string> integers[] = {
        {"<i8", bytes_of(std::vector<int64_t>{0, 3, 1})},
        {"<i4", bytes_of(std::vector<int32_t>{0, 3, 1})},
        {"|u1", std::string("\0\3\1", 3)}};
    for (const auto &[type, elements] : integers) {
        put(y, npy(dictionary(type, false, "(3,)"), elements));
        Read read(x, y.c_str());
        ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
        EXPECT_EQ(reliht_dataset_classes(read.data), 4u);
        EXPECT_EQ(reliht_dataset_outputs(read.data), 4u);
        EXPECT_EQ(read.data->labels[1], 3);
    }
    put(y, npy(dictionary("<i4", false, "(3, 1)"), bytes_of(std::vector<int32_t>{0, 1, 1})));
    Read two(x, y.c_str());
    ASSERT_EQ(two.status, RELIHT_OK) << two.context.message();
    EXPECT_EQ(reliht_dataset_outputs(two.data), 1u);
    EXPECT_EQ(two.data->y[2], 1.0f);
    put(y,
        npy(dictionary("<f8", true, "(3, 2)"), bytes_of(std::vector<double>{1, 2, 3, -4, 5, 6})));
    Read real(x, y.c_str());
    ASSERT_EQ(real.status, RELIHT_OK) << real.context.message();
    EXPECT_EQ(reliht_dataset_outputs(real.data), 2u);
    EXPECT_EQ(real.data->y[real.data->stride], -4.0f);
    EXPECT_EQ(reliht_dataset_target_minimum(real.data), -4.0f);
}

TEST(Npy, LabelsMayBeOfOneClass)
{
    TemporaryDirectory folder;
    const std::string x = folder.file("x.npy"), y = folder.file("y.npy");
    put(x, npy(dictionary("<f4", false, "(2, 1)"), std::string(8, '\0')));
    for (int32_t label : {0, 1}) {
        put(y, npy(dictionary("<i4", false, "(2,)"), bytes_of(std::vector<int32_t>(2, label))));
        Read read(x, y.c_str());
        ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
        EXPECT_EQ(reliht_dataset_classes(read.data), 2u);
        EXPECT_EQ(reliht_dataset_outputs(read.data), 1u);
        EXPECT_EQ(read.data->y[1], (float)label);
    }
}

TEST(Npy, RefusesTargetsThatDoNotFit)
{
    TemporaryDirectory folder;
    const std::string x = folder.file("x.npy"), y = folder.file("y.npy");
    put(x, npy(dictionary("<f4", false, "(2, 1)"), std::string(8, '\0')));
    auto status = [&](const std::string &bytes) {
        put(y, bytes);
        Read read(x, y.c_str());
        EXPECT_EQ(read.data, nullptr);
        EXPECT_NE(read.context.message(), "");
        return read.status;
    };
    EXPECT_EQ(status(npy(dictionary("<f4", false, "(3,)"), std::string(12, '\0'))), RELIHT_DATA);
    EXPECT_EQ(status(npy(dictionary("<f4", false, "(2, 1, 1)"), std::string(8, '\0'))),
              RELIHT_FORMAT);
    EXPECT_EQ(status(npy(dictionary("<i4", false, "(2, 2)"), std::string(16, '\0'))),
              RELIHT_FORMAT);
    for (int64_t wrong : {(int64_t)-1, (int64_t)INT32_MAX, INT64_MAX, INT64_MIN})
        EXPECT_EQ(
            status(npy(dictionary("<i8", false, "(2,)"), bytes_of(std::vector<int64_t>{0, wrong}))),
            RELIHT_DATA);
    EXPECT_EQ(status(npy(dictionary("<f4", false, "(2,)"), bytes_of(std::vector<float>{1, NAN}))),
              RELIHT_DATA);
    Read missing(x, folder.file("missing").c_str());
    EXPECT_EQ(missing.status, RELIHT_IO);
}

TEST(Npy, NamesWhatIsNotFinite)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy");
    for (double bad : {(double)NAN, (double)INFINITY, -(double)INFINITY, 1e300}) {
        put(path, npy(dictionary("<f8", false, "(2, 3)"),
                      bytes_of(std::vector<double>{1, 2, 3, 4, 5, bad})));
        Read read(path);
        EXPECT_EQ(read.status, RELIHT_DATA);
        EXPECT_NE(read.context.message().find("row 1, column 2"), std::string::npos)
            << read.context.message();
    }
}

TEST(Npy, RefusesHeadersThatAreWrong)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy"), four(16, '\0');
    struct Case {
        std::string bytes;
        reliht_status status;
    };
    auto header = [&](const std::string &text, reliht_status status = RELIHT_FORMAT) {
        return Case{npy(text, four), status};
    };
    const std::string good = dictionary("<f4", false, "(2, 2)");
    const Case cases[] = {
        header("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", RELIHT_UNSUPPORTED),
        header("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 4), }", RELIHT_UNSUPPORTED),
        header("{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", RELIHT_UNSUPPORTED),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", RELIHT_UNSUPPORTED),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }", RELIHT_UNSUPPORTED),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }",
               RELIHT_UNSUPPORTED),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2 2), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': [2, 2], }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967298, 2), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551620,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2147483647, 2147483647), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2147483647, 2147483647, "
               "2147483647), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 65536, 65536), }"),
        header("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2), }"),
        header("{'descr': '<f4', 'shape': (2, 2), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'shape': (2, 2), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'more': 1}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)} x"),
        header("{'descr': '<f4' 'fortran_order': False, 'shape': (2, 2)}"),
        header("{'descr: <f4}"),
        header("{'descr': 'a very long name of a type'}"),
        header("{'descr': '<\\x664'}"),
        header("{'descr': '\x01'}"),
        header("{descr: '<f4'}"),
        header("[]"),
        header(""),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" +
               [] {
                   std::string ones;
                   for (int i = 0; i < 40; i++)
                       ones += "1,";
                   return ones;
               }() +
               ")}"),
        {"\x93NUMPX" + npy(good, four).substr(6), RELIHT_FORMAT},
        {npy(good, four, 4), RELIHT_FORMAT},
        {npy(good, four, 0), RELIHT_FORMAT},
        {npy(good, four + "x"), RELIHT_FORMAT},
        {npy(good, four.substr(1)), RELIHT_FORMAT},
        {npy(good, ""), RELIHT_FORMAT},
        {npy(good + std::string(20000, ' '), four), RELIHT_FORMAT},
        {std::string("\x93NUMPY\2\0", 8) + "\xff\xff\xff\xff" + good + four, RELIHT_FORMAT},
    };
    for (const Case &wrong : cases) {
        put(path, wrong.bytes);
        Read read(path);
        EXPECT_EQ(read.status, wrong.status) << wrong.bytes.substr(10, 90);
        EXPECT_NE(read.context.message().find(path), std::string::npos) << read.context.message();
    }
    // What numpy would read and is only spelled in another way.
    for (const char *other : {"{\"shape\":(2,2),\"fortran_order\":False,\"descr\":\"<f4\"}",
                              "{ 'descr' : '<f4', 'fortran_order' : False, 'shape' : (2, 2,) }"}) {
        put(path, npy(other, four));
        EXPECT_EQ(Read(path).status, RELIHT_OK) << other;
    }
}

TEST(Npy, SaysHowToConvertOtherTypes)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy");
    put(path, npy(dictionary("|b1", false, "(2,)"), std::string(2, '\0')));
    Read read(path);
    EXPECT_EQ(read.status, RELIHT_UNSUPPORTED);
    for (const char *part : {"'|b1'", "with .astype('<f4')", "class labels with .astype('<i4')"})
        EXPECT_NE(read.context.message().find(part), std::string::npos) << read.context.message();
}

TEST(Npy, RefusesFoldersAndWhatCannotBeOpened)
{
    TemporaryDirectory folder;
    EXPECT_EQ(Read(folder.path.string()).status, RELIHT_IO);
    EXPECT_EQ(Read(folder.file("missing")).status, RELIHT_IO);
    EXPECT_EQ(Read("/dev/zero").status, RELIHT_IO);
    put(folder.file("empty"), "");
    EXPECT_EQ(Read(folder.file("empty")).status, RELIHT_FORMAT);
    put(folder.file("secret"), "x");
    std::filesystem::permissions(folder.file("secret"), std::filesystem::perms::none);
    if (access(folder.file("secret").c_str(), R_OK)) { // root may read everything
        EXPECT_EQ(Read(folder.file("secret")).status, RELIHT_IO);
    }
    Context context;
    reliht_dataset *data;
    EXPECT_EQ(reliht_dataset_read_npy(context, nullptr, nullptr, false, &data), RELIHT_ARGUMENT);
    reliht_model *model;
    EXPECT_EQ(reliht_generators_read_npy(context, nullptr, &model), RELIHT_ARGUMENT);
}

TEST(Npy, SurvivesHostileFiles)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("x.npy"), labels = folder.file("y.npy");
    const std::string good =
        npy(dictionary("<f4", true, "(3, 2)"), bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6}));
    const support::Reader read = [&](reliht_context *context) {
        reliht_dataset *data;
        reliht_status status =
            reliht_dataset_read_npy(context, path.c_str(), nullptr, false, &data);
        reliht_dataset_destroy(data);
        return status;
    };
    support::expect_every_truncation_refused(path, good, read);
    support::survive_mutations(path, good, read);
    put(path, good);
    const std::string good_labels =
        npy(dictionary("<i4", false, "(3,)"), bytes_of(std::vector<int32_t>{1, 0, 2}));
    support::survive_mutations(labels, good_labels, [&](reliht_context *context) {
        reliht_dataset *data;
        reliht_status status =
            reliht_dataset_read_npy(context, path.c_str(), labels.c_str(), false, &data);
        reliht_dataset_destroy(data);
        return status;
    });
    support::survive_mutations(path, good, [&](reliht_context *context) {
        reliht_model *model;
        reliht_status status = reliht_generators_read_npy(context, path.c_str(), &model);
        reliht_model_destroy(model);
        return status;
    });
}

TEST(Npy, GeneratorsKeepTheNonzeros)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("H.npy");
    for (bool fortran : {false, true}) {
        // [[0, 2, 0], [0, 0, 0], [-1, 0, 0.5]]
        const std::vector<double> values = fortran
                                               ? std::vector<double>{0, 0, -1, 2, 0, 0, 0, 0, 0.5}
                                               : std::vector<double>{0, 2, 0, 0, 0, 0, -1, 0, 0.5};
        put(path, npy(dictionary("<f8", fortran, "(3, 3)"), bytes_of(values)));
        Context context;
        reliht_model *model;
        ASSERT_EQ(reliht_generators_read_npy(context, path.c_str(), &model), RELIHT_OK)
            << context.message();
        EXPECT_EQ(reliht_model_hidden(model, 0), 3u);
        EXPECT_EQ(reliht_model_inputs(model), 3u);
        uint32_t neuron[3], column[3];
        float value[3];
        size_t nnz;
        ASSERT_EQ(reliht_model_weights(model, 0, 3, neuron, column, value, &nnz), RELIHT_OK);
        ASSERT_EQ(nnz, 3u);
        EXPECT_EQ(neuron[0], 0u);
        EXPECT_EQ(column[0], 1u);
        EXPECT_EQ(value[0], 2.0f);
        EXPECT_EQ(neuron[1], 2u);
        EXPECT_EQ(column[1], 0u);
        EXPECT_EQ(value[2], 0.5f);
        reliht_model_destroy(model);
    }
}

TEST(Npy, GeneratorsOfZerosAreEmptyAndOthersAreChecked)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("H.npy");
    Context context;
    reliht_model *model;
    put(path, npy(dictionary("<f4", false, "(2, 2)"), std::string(16, '\0')));
    ASSERT_EQ(reliht_generators_read_npy(context, path.c_str(), &model), RELIHT_OK);
    EXPECT_EQ(reliht_model_nnz(model), 0u);
    reliht_model_destroy(model);
    put(path, npy(dictionary("<f4", false, "(4,)"), std::string(16, '\0')));
    EXPECT_EQ(reliht_generators_read_npy(context, path.c_str(), &model), RELIHT_FORMAT);
    EXPECT_EQ(model, nullptr);
    put(path,
        npy(dictionary("<f4", false, "(2, 2)"), bytes_of(std::vector<float>{0, 1, 2, INFINITY})));
    EXPECT_EQ(reliht_generators_read_npy(context, path.c_str(), &model), RELIHT_DATA);
    EXPECT_NE(context.message().find("row 1, column 1"), std::string::npos) << context.message();
}

TEST(Npy, WritesWhatItReads)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("y.npy");
    Context context;
    std::vector<float> values(300 * 70);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = (float)i / 7;
    ASSERT_EQ(reliht_npy_write(context, path.c_str(), 300, 70, values.data()), RELIHT_OK)
        << context.message();
    EXPECT_EQ(support::contents(path).size(), 128 + 4 * values.size());
    Read read(path);
    ASSERT_EQ(read.status, RELIHT_OK) << read.context.message();
    for (size_t i = 0; i < values.size(); i++)
        ASSERT_EQ(read.x(i / 70, i % 70), values[i]);
    EXPECT_EQ(reliht_npy_write(context, folder.path.c_str(), 1, 1, values.data()), RELIHT_IO);
    EXPECT_EQ(reliht_npy_write(context, path.c_str(), (size_t)1 << 40, 1, values.data()),
              RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_npy_write(context, path.c_str(), 1, 1, nullptr), RELIHT_ARGUMENT);
    EXPECT_EQ(support::contents(path).size(), 128 + 4 * values.size());
}

TEST(Npy, SurvivesEveryFailedAllocation)
{
    TemporaryDirectory folder;
    const std::string x = folder.file("x.npy"), y = folder.file("y.npy"), out = folder.file("o");
    put(x, npy(dictionary("<f4", false, "(3, 2)"), bytes_of(std::vector<float>(6, 1.5f))));
    put(y, npy(dictionary("<i4", false, "(3,)"), bytes_of(std::vector<int32_t>{1, 0, 1})));
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  reliht_dataset *data;
                  reliht_status status =
                      reliht_dataset_read_npy(context, x.c_str(), y.c_str(), false, &data);
                  reliht_dataset_destroy(data);
                  return status;
              }),
              7u);
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  reliht_model *model;
                  reliht_status status = reliht_generators_read_npy(context, x.c_str(), &model);
                  reliht_model_destroy(model);
                  return status;
              }),
              7u);
    const float value = 1;
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  return reliht_npy_write(context, out.c_str(), 1, 1, &value);
              }),
              1u);
}
