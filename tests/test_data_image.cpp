#include "hostile.h"

extern "C" {
#include "core/rng.h"
#include "data/dataset.h"
#include "data/fourier.h"
#include "model/model.h"
}

#include <cmath>
#include <vector>
#include <zlib.h>

using support::big;
using support::Context;
using support::put;
using support::TemporaryDirectory;

static std::string chunk(const std::string &type, const std::string &data)
{
    const std::string body = type + data;
    return big(data.size(), 4) + body +
           big(crc32(0, (const Bytef *)body.data(), (uInt)body.size()), 4);
}

static std::string deflated(const std::string &bytes)
{
    uLongf size = compressBound((uLong)bytes.size());
    std::string out(size, '\0');
    EXPECT_EQ(
        compress((Bytef *)out.data(), &size, (const Bytef *)bytes.data(), (uLong)bytes.size()),
        Z_OK);
    out.resize(size);
    return out;
}

static const std::string signature = "\x89PNG\r\n\x1a\n";

static std::string header(uint32_t width, uint32_t height, int depth, int type, int interlace = 0)
{
    return chunk("IHDR", big(width, 4) + big(height, 4) + (char)depth + (char)type +
                             std::string(2, '\0') + (char)interlace);
}

// `rows` with the filter byte in front of each; `before` are chunks before the pixels.
static std::string png(uint32_t width, uint32_t height, int depth, int type,
                       const std::string &rows, const std::string &before = "", int interlace = 0)
{
    return signature + header(width, height, depth, type, interlace) + before +
           chunk("IDAT", deflated(rows)) + chunk("IEND", "");
}

struct Image {
    Context context{2};
    size_t width = 0, height = 0;
    reliht_dataset *data = nullptr;
    reliht_status status;

    explicit Image(const std::string &path, size_t features = 4)
    {
        reliht_image_options options;
        reliht_image_options_default(&options);
        options.features = features;
        status = reliht_image_read(context, path.c_str(), &options, &width, &height, &data);
    }
    ~Image()
    {
        reliht_dataset_destroy(data);
    }
    std::vector<float> targets() const
    {
        std::vector<float> values;
        for (size_t i = 0; i < data->samples; i++)
            for (size_t output = 0; output < data->outputs; output++)
                values.push_back(data->y[output * data->stride + i]);
        return values;
    }
};

TEST(Image, ReadsEveryKindOfPixel)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    const std::string zero(1, '\0');
    struct Case {
        const char *name;
        std::string file;
        size_t channels;
        std::vector<double> values; // of 2 x 1 pixels
    };
    const std::string palette = chunk("PLTE", std::string("\x00\x33\xff\xff\x00\x66", 6));
    const Case cases[] = {
        {"grey 1", png(2, 1, 1, 0, zero + "\x40"), 1, {0, 1}},
        {"grey 2", png(2, 1, 2, 0, zero + "\x60"), 1, {1 / 3.0, 2 / 3.0}},
        {"grey 4", png(2, 1, 4, 0, zero + "\x3f"), 1, {0.2, 1}},
        {"grey 8", png(2, 1, 8, 0, zero + "\x33\xff"), 1, {0.2, 1}},
        {"grey 16", png(2, 1, 16, 0, zero + "\x12\x34\xff\xff"), 1, {0x1234 / 65535.0, 1}},
        {"grey alpha", png(2, 1, 8, 4, zero + "\x33\x80\xff" + zero), 1, {0.2, 1}},
        {"colour",
         png(2, 1, 8, 2, zero + zero + "\x33\xff\xff" + zero + "\x66"),
         3,
         {0, 0.2, 1, 1, 0, 0.4}},
        {"colour 16",
         png(2, 1, 16, 2, zero + "\x80\x01" + std::string(10, '\xff')),
         3,
         {0x8001 / 65535.0, 1, 1, 1, 1, 1}},
        {"colour alpha",
         png(2, 1, 8, 6, zero + zero + "\x33\xff\x01\xff" + zero + "\x66\x02"),
         3,
         {0, 0.2, 1, 1, 0, 0.4}},
        {"palette", png(2, 1, 8, 3, zero + zero + "\x01", palette), 3, {0, 0.2, 1, 1, 0, 0.4}},
        {"palette 1", png(2, 1, 1, 3, zero + "\x40", palette), 3, {0, 0.2, 1, 1, 0, 0.4}},
        {"palette with alpha",
         png(2, 1, 8, 3, zero + zero + "\x01", palette + chunk("tRNS", "\x10")),
         3,
         {0, 0.2, 1, 1, 0, 0.4}},
    };
    for (const Case &one : cases) {
        put(path, one.file);
        Image image(path);
        ASSERT_EQ(image.status, RELIHT_OK) << one.name << ": " << image.context.message();
        EXPECT_EQ(image.width, 2u);
        EXPECT_EQ(image.height, 1u);
        EXPECT_EQ(reliht_dataset_outputs(image.data), one.channels) << one.name;
        const std::vector<float> read = image.targets();
        ASSERT_EQ(read.size(), one.values.size());
        for (size_t i = 0; i < read.size(); i++)
            EXPECT_NEAR(read[i], one.values[i], 1e-7) << one.name << ' ' << i;
    }
}

TEST(Image, ReadsInterlacedPixels)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    // Adam7: start row, start column, row step, column step of each pass.
    const int passes[7][4] = {{0, 0, 8, 8}, {0, 4, 8, 8}, {4, 0, 8, 4}, {0, 2, 4, 4},
                              {2, 0, 4, 2}, {0, 1, 2, 2}, {1, 0, 2, 1}};
    const int width = 11, height = 9;
    std::string rows;
    for (const auto &pass : passes)
        for (int row = pass[0]; row < height && pass[1] < width; row += pass[2]) {
            rows += '\0';
            for (int column = pass[1]; column < width; column += pass[3])
                rows += (char)(20 * row + column);
        }
    put(path, png(width, height, 8, 0, rows, "", 1));
    Image image(path);
    ASSERT_EQ(image.status, RELIHT_OK) << image.context.message();
    const std::vector<float> read = image.targets();
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            EXPECT_NEAR(read[(size_t)(row * width + column)], (20 * row + column) / 255.0, 1e-7);
}

TEST(Image, InputsAreFourierFeaturesOfTheCoordinates)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    put(path, png(3, 2, 8, 0, std::string("\0abc\0def", 8)));
    for (bool unit : {false, true}) {
        Context context;
        reliht_image_options options;
        reliht_image_options_default(&options);
        EXPECT_EQ(options.features, 1500u);
        EXPECT_EQ(options.sigma, 2.0);
        options.features = 100;
        options.sigma = 1.5;
        options.seed = 77;
        options.unit_coordinates = unit;
        reliht_dataset *data;
        ASSERT_EQ(reliht_image_read(context, path.c_str(), &options, nullptr, nullptr, &data),
                  RELIHT_OK)
            << context.message();
        EXPECT_EQ(reliht_dataset_inputs(data), 100u);
        std::vector<float> normals(100);
        rng_normals(77, RNG_FOURIER, 0, 100, normals.data());
        for (size_t pixel = 0; pixel < 6; pixel++)
            for (size_t f = 0; f < 50; f++) {
                double row = (double)(pixel / 3) / (unit ? 2 : 1);
                double column = (double)(pixel % 3) / (unit ? 3 : 1);
                double angle = 2 * M_PI * 1.5 *
                               (row * (double)normals[2 * f] + column * (double)normals[2 * f + 1]);
                const auto *x = (const float *)data->x;
                EXPECT_NEAR(x[f * data->stride + pixel], std::sin(angle), 1e-6);
                EXPECT_NEAR(x[(50 + f) * data->stride + pixel], std::cos(angle), 1e-6);
            }
        EXPECT_EQ(data->preparation.kind, PREPROCESSING_FOURIER);
        EXPECT_EQ(data->preparation.width, 3u);
        EXPECT_EQ(data->preparation.height, 2u);

        // The same from what a model keeps.
        reliht_model *model;
        ASSERT_EQ(model_create(context, RELIHT_FUSED, 100, 1, false, &model), RELIHT_OK);
        model->preparation = data->preparation;
        size_t width, height;
        reliht_dataset *again;
        ASSERT_EQ(reliht_image_of_model(context, model, &width, &height, &again), RELIHT_OK)
            << context.message();
        EXPECT_EQ(width, 3u);
        EXPECT_EQ(height, 2u);
        for (size_t i = 0; i < 101 * data->stride; i++)
            ASSERT_EQ(((float *)again->x)[i], ((float *)data->x)[i]);
        EXPECT_EQ(again->y[0], 0.0f);
        model->preparation.kind = PREPROCESSING_NONE;
        reliht_dataset *none;
        EXPECT_EQ(reliht_image_of_model(context, model, nullptr, nullptr, &none), RELIHT_ARGUMENT);
        EXPECT_EQ(none, nullptr);
        reliht_model_destroy(model);
        reliht_dataset_destroy(again);
        reliht_dataset_destroy(data);
    }
}

TEST(Image, FeaturesDoNotDependOnThreads)
{
    preprocessing preparation = {};
    reliht_image_options_default(&preparation.image);
    preparation.width = 33;
    preparation.height = 21;
    preparation.image.features = 250;
    Context one(1), many(5);
    reliht_dataset *a, *b;
    ASSERT_EQ(fourier_dataset(one, &preparation, 1, &a), RELIHT_OK);
    ASSERT_EQ(fourier_dataset(many, &preparation, 1, &b), RELIHT_OK);
    for (size_t i = 0; i < 250 * a->stride; i++)
        ASSERT_EQ(((float *)a->x)[i], ((float *)b->x)[i]);
    reliht_dataset_destroy(a);
    reliht_dataset_destroy(b);
}

TEST(Image, RefusesWrongOptions)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    put(path, png(1, 1, 8, 0, std::string("\0a", 2)));
    auto status = [&](auto change) {
        Context context;
        reliht_image_options options;
        reliht_image_options_default(&options);
        change(options);
        reliht_dataset *data;
        reliht_status result =
            reliht_image_read(context, path.c_str(), &options, nullptr, nullptr, &data);
        reliht_dataset_destroy(data);
        return result;
    };
    EXPECT_EQ(status([](auto &) {}), RELIHT_OK);
    EXPECT_EQ(status([](auto &o) { o.features = 0; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.features = 3; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.features = (size_t)1 << 33; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.sigma = 0; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.sigma = NAN; }), RELIHT_ARGUMENT);
    EXPECT_EQ(status([](auto &o) { o.sigma = INFINITY; }), RELIHT_ARGUMENT);
    Context context;
    preprocessing preparation = {};
    reliht_image_options_default(&preparation.image);
    EXPECT_EQ(fourier_check(context, &preparation), RELIHT_ARGUMENT);
    preparation.width = preparation.height = (size_t)1 << 33;
    EXPECT_EQ(fourier_check(context, &preparation), RELIHT_ARGUMENT);
    reliht_dataset *data;
    EXPECT_EQ(fourier_dataset(context, &preparation, 1, &data), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_image_read(context, nullptr, &preparation.image, nullptr, nullptr, &data),
              RELIHT_ARGUMENT);
}

TEST(Image, RefusesMalformedPng)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    const std::string rows("\0abc\0def", 8), good = png(3, 2, 8, 0, rows);
    std::string broken_sum = good;
    broken_sum[broken_sum.size() - 20] ^= 1;
    const std::string wrong[] = {
        "",
        "not a PNG file at all",
        signature,
        signature + chunk("IEND", ""),
        signature + header(3, 2, 8, 0) + chunk("IEND", ""),
        png(3, 2, 8, 0, rows.substr(0, 5)),
        png(0, 2, 8, 0, rows),
        png(3, 2, 5, 0, rows),
        png(3, 2, 8, 7, rows),
        png(3, 2, 8, 3, rows), // no palette
        png(0x7fffffff, 0x7fffffff, 8, 0, rows),
        png(100000, 100000, 16, 2, rows),
        png(0xffffffff, 2, 8, 0, rows),
        broken_sum,
    };
    for (const std::string &bad : wrong) {
        put(path, bad);
        Image image(path);
        EXPECT_EQ(image.status, RELIHT_FORMAT) << image.context.message();
        EXPECT_EQ(image.data, nullptr);
        EXPECT_NE(image.context.message().find(path + ": byte "), std::string::npos)
            << image.context.message();
        reliht_memory now, peak;
        reliht_context_memory(image.context, &now, &peak);
        EXPECT_LT(now.workspace, 4096u);
        EXPECT_LT(peak.total, 4u << 20);
    }
    put(path, png(60000, 60000, 8, 0, rows));
    Image huge(path);
    EXPECT_NE(
        huge.context.message().find("60000 x 60000 pixels; 2^31 - 1 pixels in all are possible"),
        std::string::npos)
        << huge.context.message();
    EXPECT_EQ(Image(folder.path.string()).status, RELIHT_IO);
    EXPECT_EQ(Image(folder.file("missing")).status, RELIHT_IO);
}

TEST(Image, SurvivesHostilePng)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    const support::Reader read = [&](reliht_context *context) {
        reliht_image_options options;
        reliht_image_options_default(&options);
        options.features = 2;
        reliht_dataset *data;
        reliht_status status =
            reliht_image_read(context, path.c_str(), &options, nullptr, nullptr, &data);
        reliht_dataset_destroy(data);
        return status;
    };
    const std::string palette = chunk("PLTE", "abcdef") + chunk("tRNS", "\x10");
    const std::string files[] = {
        png(3, 2, 8, 0, std::string("\0abc\0def", 8)),
        png(2, 2, 1, 3, std::string("\0\x40\0\x80", 4), palette),
    };
    for (const std::string &good : files) {
        Context context(1);
        for (size_t length = 0; length < good.size(); length++) {
            put(path, good.substr(0, length));
            EXPECT_EQ(read(context), RELIHT_FORMAT) << length;
        }
        put(path, good + "what follows the image is not looked at");
        EXPECT_EQ(read(context), RELIHT_OK) << context.message();
        support::survive_mutations(path, good, read);
    }
    // Mutations behind sound checksums reach further: header and compressed pixels.
    std::mt19937 random(99);
    Context context(1);
    for (int i = 0; i < 1000; i++) {
        std::string fields = big(3, 4) + big(2, 4) + std::string("\x08\0\0\0\0", 5);
        std::string rows = deflated(std::string("\0abc\0def", 8));
        fields[random() % fields.size()] = (char)random();
        rows = support::mutated(rows, random);
        put(path, signature + chunk("IHDR", fields) + chunk("IDAT", rows) + chunk("IEND", ""));
        support::expect_clean(context, read(context));
    }
}

TEST(Image, WritesWhatItReads)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png");
    for (size_t channels : {1u, 3u}) {
        const size_t width = 37, height = 23;
        std::vector<float> values(width * height * channels);
        for (size_t i = 0; i < values.size(); i++)
            values[i] = (float)(i % 256) / 255.0f;
        values[0] = -3.0f;
        values[1] = 7.0f;
        values[2] = NAN;
        values[3] = 0.4999f / 255.0f;
        values[4] = 0.5001f / 255.0f;
        Context context;
        ASSERT_EQ(reliht_image_write(context, path.c_str(), width, height, channels, values.data()),
                  RELIHT_OK)
            << context.message();
        values[0] = values[2] = values[3] = 0.0f;
        values[1] = 1.0f;
        values[4] = 1 / 255.0f;
        Image image(path);
        ASSERT_EQ(image.status, RELIHT_OK) << image.context.message();
        EXPECT_EQ(image.width, width);
        EXPECT_EQ(image.height, height);
        EXPECT_EQ(image.targets(), values);
    }
}

TEST(Image, RefusesToWriteWhatCannotBe)
{
    TemporaryDirectory folder;
    Context context;
    const float value[4] = {0};
    const std::string path = folder.file("image.png");
    EXPECT_EQ(reliht_image_write(context, path.c_str(), 1, 1, 2, value), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_image_write(context, path.c_str(), 0, 1, 1, value), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_image_write(context, path.c_str(), 1, (size_t)1 << 40, 1, value),
              RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_image_write(context, path.c_str(), 1, 1, 1, nullptr), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_image_write(context, folder.path.c_str(), 1, 1, 1, value), RELIHT_IO);
    EXPECT_EQ(reliht_image_write(context, folder.file("no/image").c_str(), 1, 1, 1, value),
              RELIHT_IO);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path));
}

TEST(Image, SurvivesEveryFailedAllocation)
{
    TemporaryDirectory folder;
    const std::string path = folder.file("image.png"), out = folder.file("out.png");
    put(path, png(3, 2, 8, 0, std::string("\0abc\0def", 8)));
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  reliht_image_options options;
                  reliht_image_options_default(&options);
                  options.features = 8;
                  reliht_dataset *data;
                  reliht_status status =
                      reliht_image_read(context, path.c_str(), &options, nullptr, nullptr, &data);
                  reliht_dataset_destroy(data);
                  return status;
              }),
              10u);
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  const float values[6] = {0};
                  return reliht_image_write(context, out.c_str(), 3, 2, 1, values);
              }),
              6u);
}
