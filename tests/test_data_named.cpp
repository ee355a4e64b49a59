#include "hostile.h"

extern "C" {
#include "data/dataset.h"
#include "data/source.h"
}

#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>
#include <zlib.h>

using support::big;
using support::Context;
using support::put;
using support::TemporaryDirectory;

static std::string gzip(const std::string &bytes)
{
    z_stream stream = {};
    deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
    stream.next_in = (Bytef *)bytes.data();
    stream.avail_in = (uInt)bytes.size();
    stream.next_out = (Bytef *)out.data();
    stream.avail_out = (uInt)out.size();
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

static std::string idx_labels(const std::vector<int> &labels)
{
    std::string bytes = big(0x0801, 4) + big(labels.size(), 4);
    for (int label : labels)
        bytes += (char)label;
    return bytes;
}

// Pixel p of image i is 31 i + 7 p + salt, modulo 256.
static unsigned char pixel(size_t image, size_t p, size_t salt)
{
    return (unsigned char)(31 * image + 7 * p + salt);
}

static std::string idx_images(size_t count, size_t height, size_t width, size_t salt)
{
    std::string bytes = big(0x0803, 4) + big(count, 4) + big(height, 4) + big(width, 4);
    for (size_t i = 0; i < count; i++)
        for (size_t p = 0; p < height * width; p++)
            bytes += (char)pixel(i, p, salt);
    return bytes;
}

static std::vector<int> cycle(size_t count, int period = 10, int start = 0)
{
    std::vector<int> labels(count);
    for (size_t i = 0; i < count; i++)
        labels[i] = (int)((i + (size_t)start) % (size_t)period);
    return labels;
}

static void write_mnist(const std::string &folder, size_t train, size_t test, bool zipped)
{
    const std::pair<std::string, std::string> files[] = {
        {"train-images-idx3-ubyte", idx_images(train, 3, 5, 0)},
        {"train-labels-idx1-ubyte", idx_labels(cycle(train))},
        {"t10k-images-idx3-ubyte", idx_images(test, 3, 5, 100)},
        {"t10k-labels-idx1-ubyte", idx_labels(cycle(test, 10, 3))}};
    for (const auto &[name, bytes] : files)
        put(folder + "/" + name + (zipped ? ".gz" : ""), zipped ? gzip(bytes) : bytes);
}

struct Named {
    Context context{2};
    reliht_dataset *train = nullptr, *test = nullptr;
    reliht_status status;

    explicit Named(const reliht_named_options &options, bool want_train = true,
                   bool want_test = true)
    {
        status = reliht_dataset_read_named(context, &options, want_train ? &train : nullptr,
                                           want_test ? &test : nullptr);
    }
    ~Named()
    {
        reliht_dataset_destroy(train);
        reliht_dataset_destroy(test);
    }
};

// `folder` outlives the options.
static reliht_named_options from(const char *name, const char *folder)
{
    reliht_named_options options;
    reliht_named_options_default(&options);
    options.name = name;
    options.directory = folder;
    return options;
}

static unsigned char byte_at(const reliht_dataset *data, size_t row, size_t column)
{
    return ((unsigned char *)data->x)[row * data->inputs + column];
}

TEST(Named, ReadsPlainAndCompressedIdx)
{
    for (bool zipped : {false, true}) {
        TemporaryDirectory folder;
        write_mnist(folder.path.string(), 143, 37, zipped);
        Named named(from("mnist", folder.path.c_str()));
        ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
        ASSERT_EQ(reliht_dataset_samples(named.train), 143u);
        ASSERT_EQ(reliht_dataset_samples(named.test), 37u);
        EXPECT_EQ(reliht_dataset_inputs(named.train), 15u);
        EXPECT_EQ(reliht_dataset_classes(named.train), 10u);
        EXPECT_EQ(reliht_dataset_outputs(named.train), 10u);
        EXPECT_EQ(named.train->element, ELEMENT_BYTE);
        for (size_t i = 0; i < 143; i++)
            for (size_t p = 0; p < 15; p++)
                ASSERT_EQ(byte_at(named.train, i, p), pixel(i, p, 0));
        for (size_t i = 0; i < 37; i++) {
            ASSERT_EQ(byte_at(named.test, i, 14), pixel(i, 14, 100));
            ASSERT_EQ(named.test->labels[i], (int)((i + 3) % 10));
        }
        EXPECT_STREQ(named.train->preparation.source, "mnist");
        EXPECT_EQ(named.train->preparation.kind, PREPROCESSING_PIXELS);
        EXPECT_EQ(named.train->scale, 1.0f / 255.0f);
        EXPECT_EQ(named.train->preparation.class_count, 10u);
        EXPECT_EQ(named.train->preparation.classes[9], 9u);
        reliht_memory now;
        reliht_context_memory(named.context, &now, nullptr);
        EXPECT_LT(now.workspace, 4096u); // nothing of the reading is left
    }
}

TEST(Named, ReadsManyPiecesLikeOne)
{
    TemporaryDirectory folder;
    const size_t count = 9000; // of 120 pixels: three pieces
    put(folder.file("train-images-idx3-ubyte.gz"), gzip(idx_images(count, 10, 12, 5)));
    put(folder.file("train-labels-idx1-ubyte"), idx_labels(cycle(count, 7)));
    reliht_named_options options = from("fashion-mnist", folder.path.c_str());
    const uint32_t classes[] = {6, 1, 3};
    options.classes = classes;
    options.class_count = 3;
    Named named(options, true, false);
    ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
    size_t row = 0;
    for (size_t i = 0; i < count; i++) {
        const int label = (int)(i % 7);
        if (label != 6 && label != 1 && label != 3)
            continue;
        ASSERT_EQ(named.train->labels[row], label == 6 ? 0 : label == 1 ? 1 : 2);
        for (size_t p = 0; p < 120; p++)
            ASSERT_EQ(byte_at(named.train, row, p), pixel(i, p, 5));
        row++;
    }
    EXPECT_EQ(reliht_dataset_samples(named.train), row);
    EXPECT_EQ(named.train->preparation.class_count, 3u);
    EXPECT_EQ(named.train->preparation.classes[0], 6u);
}

TEST(Named, TwoKeptClassesAreScalar)
{
    TemporaryDirectory folder;
    write_mnist(folder.path.string(), 100, 30, true);
    reliht_named_options options = from("mnist", folder.path.c_str());
    const uint32_t classes[] = {7, 2};
    options.classes = classes;
    options.class_count = 2;
    options.raw = true;
    Named named(options);
    ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
    EXPECT_EQ(reliht_dataset_outputs(named.train), 1u);
    EXPECT_EQ(reliht_dataset_classes(named.train), 2u);
    ASSERT_EQ(reliht_dataset_samples(named.train), 20u);
    EXPECT_EQ(named.train->y[0], 1.0f); // the 2 comes first in the file
    EXPECT_EQ(named.train->y[1], 0.0f);
    EXPECT_EQ(byte_at(named.train, 1, 3), pixel(7, 3, 0));
    EXPECT_EQ(named.train->scale, 1.0f);
}

TEST(Named, LimitsKeepTheFirst)
{
    TemporaryDirectory folder;
    write_mnist(folder.path.string(), 100, 30, false);
    reliht_named_options options = from("mnist", folder.path.c_str());
    options.train_limit = 12;
    options.test_limit = 1000;
    Named named(options);
    ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
    EXPECT_EQ(reliht_dataset_samples(named.train), 12u);
    EXPECT_EQ(reliht_dataset_samples(named.test), 30u);
    EXPECT_EQ(named.train->labels[11], 1);
}

// Per class 5000 for training and the next 1000 for test, in file order over train then test.
TEST(Named, PaperSplitRunsOverBothParts)
{
    TemporaryDirectory folder;
    // Two labels in turn: 5600 of each in the training files, 600 in the test files.
    const size_t train = 11200, test = 1200;
    put(folder.file("train-images-idx3-ubyte"), idx_images(train, 1, 2, 0));
    put(folder.file("train-labels-idx1-ubyte"), idx_labels(cycle(train, 2)));
    put(folder.file("t10k-images-idx3-ubyte"), idx_images(test, 1, 2, 9));
    put(folder.file("t10k-labels-idx1-ubyte"), idx_labels(cycle(test, 2)));
    reliht_named_options options = from("mnist", folder.path.c_str());
    const uint32_t classes[] = {0, 1};
    options.classes = classes;
    options.class_count = 2;
    options.paper_split = true;
    Named named(options);
    ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
    EXPECT_EQ(reliht_dataset_samples(named.train), 10000u);
    ASSERT_EQ(reliht_dataset_samples(named.test), 2000u);
    EXPECT_TRUE(named.test->preparation.paper_split);
    for (size_t p = 0; p < 2; p++) {
        EXPECT_EQ(byte_at(named.train, 9999, p), pixel(9999, p, 0));
        EXPECT_EQ(byte_at(named.test, 0, p), pixel(10000, p, 0));
        EXPECT_EQ(byte_at(named.test, 1199, p), pixel(11199, p, 0));
        EXPECT_EQ(byte_at(named.test, 1200, p), pixel(0, p, 9));
        EXPECT_EQ(byte_at(named.test, 1999, p), pixel(799, p, 9));
    }
    // For training alone the test files need not be there.
    std::filesystem::remove(folder.file("t10k-images-idx3-ubyte"));
    std::filesystem::remove(folder.file("t10k-labels-idx1-ubyte"));
    EXPECT_EQ(Named(options, true, false).status, RELIHT_OK);
    Named both(options);
    EXPECT_EQ(both.status, RELIHT_IO);
    EXPECT_EQ(both.train, nullptr);
}

TEST(Named, ReadsOnlyThePartThatIsAskedFor)
{
    TemporaryDirectory folder;
    write_mnist(folder.path.string(), 20, 10, false);
    reliht_named_options options = from("mnist", folder.path.c_str());
    std::filesystem::remove(folder.file("train-images-idx3-ubyte"));
    std::filesystem::remove(folder.file("train-labels-idx1-ubyte"));
    Named test(options, false, true);
    ASSERT_EQ(test.status, RELIHT_OK) << test.context.message();
    EXPECT_EQ(byte_at(test.test, 9, 1), pixel(9, 1, 100));
    EXPECT_EQ(Named(options, true, false).status, RELIHT_IO);
}

TEST(Named, LooksInTheEnvironmentAndSaysWhereItLooked)
{
    TemporaryDirectory folder;
    std::filesystem::create_directory(folder.file("mnist"));
    write_mnist(folder.file("mnist"), 20, 10, false);
    const char *before = getenv("RELIHT_DATA");
    const std::string kept = before ? before : "";
    reliht_named_options options;
    reliht_named_options_default(&options);
    options.name = "mnist";
    setenv("RELIHT_DATA", folder.path.c_str(), 1);
    EXPECT_EQ(Named(options).status, RELIHT_OK);
    setenv("RELIHT_DATA", folder.file("mnist").c_str(), 1);
    EXPECT_EQ(Named(options).status, RELIHT_OK);
    setenv("RELIHT_DATA", folder.file("nowhere").c_str(), 1);
    Named missing(options);
    EXPECT_EQ(missing.status, RELIHT_IO);
    EXPECT_NE(missing.context.message().find(folder.file("nowhere")), std::string::npos);
    EXPECT_NE(missing.context.message().find("datasets/get mnist"), std::string::npos);
    unsetenv("RELIHT_DATA");
    EXPECT_EQ(Named(options).status, RELIHT_IO);
    if (before)
        setenv("RELIHT_DATA", kept.c_str(), 1);
    // A folder that is named may hold one of the set's name.
    EXPECT_EQ(Named(from("mnist", folder.path.c_str())).status, RELIHT_OK);
    EXPECT_EQ(Named(from("mnist", std::string(5000, 'x').c_str())).status, RELIHT_IO);
}

TEST(Named, RefusesWrongOptions)
{
    TemporaryDirectory folder;
    write_mnist(folder.path.string(), 20, 10, false);
    auto status = [&](auto change) {
        reliht_named_options options = from("mnist", folder.path.c_str());
        change(options);
        Named named(options);
        EXPECT_NE(named.context.message(), "");
        EXPECT_EQ(named.train, nullptr);
        EXPECT_EQ(named.test, nullptr);
        return named.status;
    };
    static const uint32_t outside[] = {1, 10}, twice[] = {1, 1}, many[11] = {0};
    EXPECT_EQ(status([](auto &o) { o.name = "imagenet"; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.name = nullptr; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.classes = outside, o.class_count = 2; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.classes = twice, o.class_count = 2; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.classes = twice, o.class_count = 1; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.classes = many, o.class_count = 11; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.classes = nullptr, o.class_count = 2; }), RELIHT_ARGUMENT);
    put(folder.file("t10k-labels-idx1-ubyte"), idx_labels(std::vector<int>(10, 0)));
    static const uint32_t absent[] = {4, 5};
    EXPECT_EQ(status([](auto &o) { o.classes = absent, o.class_count = 2; }), RELIHT_DATA);
    reliht_named_options options = from("mnist", folder.path.c_str());
    EXPECT_EQ(Named(options, false, false).status, RELIHT_ARGUMENT);
}

static support::Reader train_reader(const char *name, const std::string &folder)
{
    return [name, folder](reliht_context *context) {
        reliht_named_options options = from(name, folder.c_str());
        reliht_dataset *data;
        reliht_status status = reliht_dataset_read_named(context, &options, &data, nullptr);
        reliht_dataset_destroy(data);
        return status;
    };
}

TEST(Named, RefusesMalformedIdx)
{
    TemporaryDirectory folder;
    const std::string images = folder.file("train-images-idx3-ubyte"),
                      labels = folder.file("train-labels-idx1-ubyte");
    const support::Reader read = train_reader("mnist", folder.path.string());
    const std::string good_images = idx_images(4, 2, 3, 0), good_labels = idx_labels(cycle(4));
    auto refused = [&](const std::string &x, const std::string &y, const char *where) {
        for (bool zipped : {false, true}) {
            Context context;
            put(images, zipped ? gzip(x) : x);
            put(labels, zipped ? gzip(y) : y);
            EXPECT_EQ(read(context), RELIHT_FORMAT) << context.message();
            EXPECT_NE(context.message().find(where), std::string::npos) << context.message();
        }
    };
    const std::string data(24, 'x');
    refused(big(0x0903, 4) + big(4, 4) + big(2, 4) + big(3, 4) + data, good_labels, "byte 0");
    refused(big(0x0801, 4) + big(4, 4) + big(2, 4) + big(3, 4) + data, good_labels, "byte 0");
    refused(big(0x0803, 4) + big(5, 4) + big(2, 4) + big(3, 4) + data + "xxxxxx", good_labels,
            "byte 4");
    refused(big(0x0803, 4) + big(0, 4) + big(2, 4) + big(3, 4), good_labels, "byte 4");
    refused(big(0x0803, 4) + big(4, 4) + big(0, 4) + big(3, 4), good_labels, "byte 8");
    refused(big(0x0803, 4) + big(4, 4) + big(0xffffffff, 4) + big(3, 4) + data, good_labels,
            "byte 8");
    refused(big(0x0803, 4) + big(4, 4) + big(0x7fffffff, 4) + big(0x7fffffff, 4) + data,
            good_labels, "byte 12");
    refused(big(0x0803, 4) + big(4, 4) + big(0x7fff, 4) + big(0xffff, 4) + data, good_labels,
            "byte 16");
    refused(big(0x0803, 4) + big(0x7fffffff, 4) + big(2, 4) + big(3, 4) + data,
            idx_labels(cycle(4)), "byte 16");
    refused(good_images + "x", good_labels, "byte");
    refused(good_images.substr(0, 30), good_labels, "byte");
    refused(good_images, good_labels + "x", "byte");
    refused(good_images, idx_labels({0, 1, 10, 2}), "byte 10");
    refused(good_images, big(0x0801, 4) + big(0x7fffffff, 4) + "abcd", "byte 8");
    refused(good_images, "", "byte");
}

TEST(Named, SurvivesHostileIdx)
{
    TemporaryDirectory folder;
    const std::string images = folder.file("train-images-idx3-ubyte"),
                      labels = folder.file("train-labels-idx1-ubyte");
    const support::Reader read = train_reader("mnist", folder.path.string());
    const std::string good_images = idx_images(4, 2, 3, 0), good_labels = idx_labels(cycle(4));
    for (bool zipped : {false, true}) {
        const std::string x = zipped ? gzip(good_images) : good_images,
                          y = zipped ? gzip(good_labels) : good_labels;
        put(labels, y);
        support::expect_every_truncation_refused(images, x, read);
        support::survive_mutations(images, x, read);
        put(images, x);
        support::expect_every_truncation_refused(labels, y, read);
        support::survive_mutations(labels, y, read);
    }
}

// A small file that says it holds 100 MB, and one that does hold them.
TEST(Named, BombsAreNotUnpacked)
{
    TemporaryDirectory folder;
    put(folder.file("train-labels-idx1-ubyte"), idx_labels(cycle(4)));
    const std::string header = big(0x0803, 4) + big(4, 4) + big(2, 4) + big(3, 4);
    put(folder.file("train-images-idx3-ubyte.gz"), gzip(header + std::string(100000000, '\0')));
    const support::Reader read = train_reader("mnist", folder.path.string());
    Context context;
    EXPECT_EQ(read(context), RELIHT_FORMAT);
    reliht_memory peak;
    reliht_context_memory(context, nullptr, &peak);
    EXPECT_LT(peak.total, 1u << 20);
    put(folder.file("train-labels-idx1-ubyte.gz"),
        gzip(big(0x0801, 4) + big(0x7fffffff, 4) + "1234"));
    std::filesystem::remove(folder.file("train-labels-idx1-ubyte"));
    EXPECT_EQ(read(context), RELIHT_FORMAT);
    reliht_context_memory(context, nullptr, &peak);
    EXPECT_LT(peak.total, 1u << 20);
}

TEST(Named, RefusesFoldersInPlaceOfFiles)
{
    TemporaryDirectory folder;
    write_mnist(folder.path.string(), 20, 10, false);
    const support::Reader read = train_reader("mnist", folder.path.string());
    std::filesystem::remove(folder.file("train-images-idx3-ubyte"));
    std::filesystem::create_directory(folder.file("train-images-idx3-ubyte"));
    Context context;
    EXPECT_EQ(read(context), RELIHT_IO);
    std::filesystem::remove(folder.file("train-labels-idx1-ubyte"));
    std::filesystem::create_directory(folder.file("train-labels-idx1-ubyte"));
    EXPECT_EQ(read(context), RELIHT_IO);
}

static std::string cifar(size_t records, size_t salt)
{
    std::string bytes;
    for (size_t i = 0; i < records; i++) {
        bytes += (char)((i + salt) % 10);
        for (size_t p = 0; p < 3072; p++)
            bytes += (char)pixel(i, p, salt);
    }
    return bytes;
}

static void write_cifar(const std::string &folder)
{
    for (size_t file = 0; file < 5; file++)
        put(folder + "/data_batch_" + std::to_string(file + 1) + ".bin", cifar(3 + file, file));
    put(folder + "/test_batch.bin", cifar(4, 50));
}

TEST(Named, ReadsCifarHereAndInItsSubfolder)
{
    for (bool below : {false, true}) {
        TemporaryDirectory folder;
        std::filesystem::create_directory(folder.file("cifar-10-batches-bin"));
        write_cifar(below ? folder.file("cifar-10-batches-bin") : folder.path.string());
        Named named(from("cifar10", folder.path.c_str()));
        ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
        ASSERT_EQ(reliht_dataset_samples(named.train), 3u + 4 + 5 + 6 + 7);
        ASSERT_EQ(reliht_dataset_samples(named.test), 4u);
        EXPECT_EQ(reliht_dataset_inputs(named.train), 3072u);
        size_t row = 0;
        for (size_t file = 0; file < 5; file++)
            for (size_t i = 0; i < 3 + file; i++, row++) {
                EXPECT_EQ(named.train->labels[row], (int)((i + file) % 10));
                for (size_t p = 0; p < 3072; p++)
                    ASSERT_EQ(byte_at(named.train, row, p), pixel(i, p, file));
            }
        EXPECT_EQ(byte_at(named.test, 3, 3071), pixel(3, 3071, 50));
    }
}

TEST(Named, RefusesMalformedCifar)
{
    TemporaryDirectory folder;
    write_cifar(folder.path.string());
    const std::string third = folder.file("data_batch_3.bin");
    const support::Reader read = train_reader("cifar10", folder.path.string());
    const std::string good = cifar(2, 0);
    std::string wrong_label = good;
    wrong_label[3073] = 10;
    for (const std::string &bad : {std::string(), good.substr(1), good + "x", wrong_label}) {
        Context context;
        put(third, bad);
        EXPECT_EQ(read(context), RELIHT_FORMAT);
        EXPECT_NE(context.message().find(third + ": byte "), std::string::npos)
            << context.message();
    }
    put(third, good);
    Context context;
    EXPECT_EQ(read(context), RELIHT_OK);
    support::survive_mutations(third, good, read, 300);
    std::filesystem::remove(third);
    EXPECT_EQ(read(context), RELIHT_IO);
}

TEST(Named, SurvivesEveryFailedAllocation)
{
    for (const char *name : {"mnist", "cifar10"}) {
        TemporaryDirectory folder;
        write_mnist(folder.path.string(), 20, 10, true);
        write_cifar(folder.path.string());
        EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                      reliht_named_options options = from(name, folder.path.c_str());
                      reliht_dataset *train, *test;
                      reliht_status status =
                          reliht_dataset_read_named(context, &options, &train, &test);
                      reliht_dataset_destroy(train);
                      reliht_dataset_destroy(test);
                      return status;
                  }),
                  12u);
    }
}

// The package of Debian, where it is installed.
TEST(Named, ReadsFashionMnist)
{
    if (access("/usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz", R_OK))
        GTEST_SKIP() << "dataset-fashion-mnist is not installed";
    reliht_named_options options;
    reliht_named_options_default(&options);
    options.paper_split = true;
    Named named(options);
    ASSERT_EQ(named.status, RELIHT_OK) << named.context.message();
    EXPECT_EQ(reliht_dataset_samples(named.train), 50000u);
    EXPECT_EQ(reliht_dataset_samples(named.test), 10000u);
    EXPECT_EQ(reliht_dataset_inputs(named.test), 784u);
    std::vector<int> counts(10);
    for (size_t i = 0; i < 10000; i++)
        counts[(size_t)named.test->labels[i]]++;
    EXPECT_EQ(counts, std::vector<int>(10, 1000));
}
