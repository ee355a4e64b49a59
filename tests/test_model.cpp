#include "models.h"
#include "paths.h"

#include <jansson.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <sys/resource.h>
#include <sys/stat.h>
#include <csignal>
#include <vector>

using namespace models;
using support::Context;
using support::TemporaryDirectory;

namespace
{

std::string read_bytes(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

void write_bytes(const std::string &path, const std::string &bytes)
{
    std::ofstream file(path, std::ios::binary);
    file.write(bytes.data(), (std::streamsize)bytes.size());
}

void expect_same_weights(const sparse &a, const sparse &b)
{
    ASSERT_EQ(a.rows, b.rows);
    ASSERT_EQ(a.columns, b.columns);
    ASSERT_EQ(a.nnz, b.nnz);
    ASSERT_EQ(a.live, b.live);
    for (size_t j = 0; j < a.live; j++) {
        EXPECT_EQ(a.row[j], b.row[j]);
        EXPECT_EQ(a.start[j + 1], b.start[j + 1]);
    }
    for (size_t e = 0; e < a.nnz; e++) {
        EXPECT_EQ(a.column[e], b.column[e]);
        EXPECT_EQ(a.value[e], b.value[e]);
    }
}

void expect_same_model(const reliht_model *a, const reliht_model *b)
{
    EXPECT_EQ(a->kind, b->kind);
    EXPECT_EQ(a->signs, b->signs);
    EXPECT_EQ(a->loss, b->loss);
    EXPECT_EQ(a->bias, b->bias);
    EXPECT_EQ(a->inputs, b->inputs);
    EXPECT_EQ(a->outputs, b->outputs);
    ASSERT_EQ(a->layers, b->layers);
    for (size_t l = 0; l < a->layers; l++)
        expect_same_weights(a->hidden[l], b->hidden[l]);
    expect_same_weights(a->output, b->output);
    EXPECT_STREQ(reliht_model_metadata(a), reliht_model_metadata(b));
}

// A small fused model whose every number is known: weights (0,1) = 1.5, (2,0) = -2, (2,2) = 0.25 of
// four neurons on two inputs and the bias input.
reliht_status known_model(reliht_context *context, reliht_model **model)
{
    reliht_status status = model_create(context, RELIHT_FUSED, 2, 1, true, model);
    if (status)
        return status;
    sparse *weights = &(*model)->hidden[0];
    status = sparse_create(context, weights, 4, 3, 3);
    if (!status) {
        (*model)->layers = 1;
        (*model)->signs = RELIHT_SIGNS_MIXED;
        sparse_append(weights, 0, 1, 1.5f);
        sparse_append(weights, 2, 0, -2.0f);
        sparse_append(weights, 2, 2, 0.25f);
        status = model_describe(*model, "aiht", 7, 3);
    }
    if (status) {
        reliht_model_destroy(*model);
        *model = nullptr;
    }
    return status;
}

// ---- files put together by hand

std::string little_endian(uint64_t value, size_t bytes)
{
    std::string text;
    for (size_t i = 0; i < bytes; i++)
        text.push_back((char)(value >> (8 * i)));
    return text;
}

std::string with_header(const std::string &header, const std::string &data)
{
    return little_endian(header.size(), 8) + header + data;
}

std::string indices(const std::vector<int64_t> &values)
{
    std::string text;
    for (int64_t value : values)
        text += little_endian((uint64_t)value, 8);
    return text;
}

std::string floats(const std::vector<float> &values)
{
    return std::string(reinterpret_cast<const char *>(values.data()), values.size() * 4);
}

std::string replaced(std::string text, const std::string &from, const std::string &to)
{
    size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// The header of known_model.
const char *const metadata =
    R"({"bias":"true","format":"reliht","format_version":"1","hidden":"[4]","inputs":"2",)"
    R"("kind":"fused","loss":"mse","nnz_budget":"3","outputs":"1","preprocessing":)"
    R"("{\"classes\":[],\"kind\":\"none\",\"paper_split\":false,\"scale\":0.0,\"source\":\"\"}",)"
    R"("seed":"7","signs":"mixed","solver":"aiht","version":"0.1.0"})";
const char *const tensors =
    R"("layers.0.col_indices":{"data_offsets":[40,64],"dtype":"I64","shape":[3]},)"
    R"("layers.0.crow_indices":{"data_offsets":[0,40],"dtype":"I64","shape":[5]},)"
    R"("layers.0.values":{"data_offsets":[64,76],"dtype":"F32","shape":[3]},)"
    R"("signs":{"data_offsets":[76,80],"dtype":"I8","shape":[4]})";

std::string known_header()
{
    return std::string("{\"__metadata__\":") + metadata + "," + tensors + "}";
}

std::string known_data()
{
    return indices({0, 1, 1, 3, 3}) + indices({1, 0, 2}) + floats({1.5f, -2, 0.25f}) +
           std::string("\1\377\1\377");
}

reliht_status read_text(Context &context, const std::string &bytes)
{
    static TemporaryDirectory folder;
    std::string path = folder.file("model");
    write_bytes(path, bytes);
    reliht_model *model = (reliht_model *)1;
    reliht_status status = reliht_model_read(context, path.c_str(), &model);
    if (status) {
        EXPECT_EQ(model, nullptr);
        EXPECT_NE(context.message().find(path), std::string::npos) << context.message();
    }
    reliht_model_destroy(model);
    return status;
}

// ---- jansson's own allocations, failed from number json_fail_at on

size_t json_calls, json_live, json_fail_at;

void *json_allocate(size_t bytes)
{
    if (json_calls++ >= json_fail_at)
        return nullptr;
    json_live++;
    return malloc(bytes);
}

void json_release(void *pointer)
{
    json_live -= pointer != nullptr;
    free(pointer);
}

} // namespace

TEST(Model, TellsItsShape)
{
    Context context(1);
    reliht_model *model;
    ASSERT_EQ(make_model(context, {RELIHT_FACTORED, {9, 17}, 11, 5, true, RELIHT_SIGNS_PLUS}, 0.5,
                         1, &model),
              RELIHT_OK);
    EXPECT_EQ(reliht_model_get_kind(model), RELIHT_FACTORED);
    EXPECT_EQ(reliht_model_signs(model), RELIHT_SIGNS_PLUS);
    EXPECT_EQ(reliht_model_layers(model), 2u);
    EXPECT_EQ(reliht_model_inputs(model), 11u);
    EXPECT_EQ(reliht_model_outputs(model), 5u);
    EXPECT_TRUE(reliht_model_bias(model));
    EXPECT_EQ(reliht_model_hidden(model, 0), 9u);
    EXPECT_EQ(reliht_model_hidden(model, 1), 17u);
    EXPECT_EQ(reliht_model_hidden(model, 2), 0u);
    EXPECT_EQ(reliht_model_dense_bytes(model), 4.0 * (9 * 12 + 17 * 10 + 17 * 5));
    EXPECT_STREQ(reliht_model_metadata(model), "{}");
    size_t total = 0;
    for (size_t layer = 0; layer <= 2; layer++) {
        size_t nnz = 0;
        ASSERT_EQ(reliht_model_weights(model, layer, 0, nullptr, nullptr, nullptr, &nnz),
                  RELIHT_OK);
        total += nnz;
    }
    EXPECT_EQ(reliht_model_nnz(model), total);
    size_t nnz;
    EXPECT_EQ(reliht_model_weights(model, 3, 0, nullptr, nullptr, nullptr, &nnz), RELIHT_ARGUMENT);
    EXPECT_EQ(context.message(), "layer 3 of a model with 2 hidden layers and output weights");
    reliht_model_destroy(model);
    reliht_model_destroy(nullptr);
}

TEST(Model, GivesItsWeightsAsTriplets)
{
    Context context(1);
    reliht_model *model;
    ASSERT_EQ(known_model(context, &model), RELIHT_OK);
    uint32_t neuron[3], column[3];
    float value[3];
    size_t nnz;
    ASSERT_EQ(reliht_model_weights(model, 0, 3, neuron, column, value, &nnz), RELIHT_OK);
    EXPECT_EQ(nnz, 3u);
    EXPECT_EQ(std::vector<uint32_t>(neuron, neuron + 3), (std::vector<uint32_t>{0, 2, 2}));
    EXPECT_EQ(std::vector<uint32_t>(column, column + 3), (std::vector<uint32_t>{1, 0, 2}));
    EXPECT_EQ(std::vector<float>(value, value + 3), (std::vector<float>{1.5f, -2, 0.25f}));
    EXPECT_EQ(reliht_model_weights(model, 0, 2, neuron, column, value, &nnz), RELIHT_ARGUMENT);
    EXPECT_EQ(context.message(), "layer 0 has 3 nonzeros, but there is room for 2");
    EXPECT_EQ(reliht_model_weights(model, 1, 3, neuron, column, value, &nnz), RELIHT_ARGUMENT);
    reliht_model_destroy(model);
}

TEST(Model, RefusesImpossibleShapes)
{
    Context context(1);
    reliht_model *model;
    EXPECT_EQ(model_create(context, RELIHT_FUSED, 0, 1, false, &model), RELIHT_ARGUMENT);
    EXPECT_EQ(model_create(context, RELIHT_FUSED, RELIHT_MAX_DIMENSION, 1, false, &model),
              RELIHT_ARGUMENT);
    EXPECT_EQ(model_create(context, RELIHT_FACTORED, 3, 0, false, &model), RELIHT_ARGUMENT);
    EXPECT_EQ(model_create(context, RELIHT_FUSED, 3, 2, false, &model), RELIHT_ARGUMENT);
    EXPECT_EQ(model, nullptr);
}

TEST(Model, ComparesWithAPlantedOne)
{
    Context context(1);
    reliht_model *planted, *found;
    ASSERT_EQ(known_model(context, &planted), RELIHT_OK);
    ASSERT_EQ(known_model(context, &found), RELIHT_OK);
    double recall, error;
    ASSERT_EQ(reliht_model_compare(context, planted, found, &recall, &error), RELIHT_OK);
    EXPECT_EQ(recall, 1);
    EXPECT_EQ(error, 0);

    sparse_clear(&found->hidden[0]); // (0,1) with another value, (2,0) elsewhere, (2,2) missing
    sparse_append(&found->hidden[0], 0, 1, 2.5f);
    sparse_append(&found->hidden[0], 3, 0, -2.0f);
    ASSERT_EQ(reliht_model_compare(context, planted, found, &recall, &error), RELIHT_OK);
    EXPECT_DOUBLE_EQ(recall, 1.0 / 3);
    EXPECT_DOUBLE_EQ(error, std::sqrt((1 + 4 + 4 + 0.0625) / (2.25 + 4 + 0.0625)));
    reliht_model_destroy(found);

    ASSERT_EQ(known_model(context, &found), RELIHT_OK);
    sparse_clear(&found->hidden[0]);
    found->hidden[0].rows = 6; // two neurons more
    sparse_append(&found->hidden[0], 0, 1, 1.5f);
    sparse_append(&found->hidden[0], 5, 2, 2.0f);
    EXPECT_EQ(reliht_model_compare(context, found, planted, &recall, &error), RELIHT_ARGUMENT);
    ASSERT_EQ(reliht_model_compare(context, planted, found, &recall, &error), RELIHT_OK);
    EXPECT_DOUBLE_EQ(recall, 1.0 / 3);
    EXPECT_DOUBLE_EQ(error, std::sqrt((4 + 0.0625 + 4) / (2.25 + 4 + 0.0625)));
    reliht_model_destroy(found);

    Shape shape = {RELIHT_FUSED, {4}, 2, 1, false, RELIHT_SIGNS_PLUS};
    ASSERT_EQ(make_model(context, shape, 0.5, 1, &found), RELIHT_OK);
    EXPECT_EQ(reliht_model_compare(context, planted, found, &recall, &error), RELIHT_ARGUMENT);
    EXPECT_NE(context.message().find("4 x 3"), std::string::npos) << context.message();
    reliht_model_destroy(found);
    shape = {RELIHT_FACTORED, {4, 5}, 2, 1, true, RELIHT_SIGNS_PLUS};
    ASSERT_EQ(make_model(context, shape, 0.5, 1, &found), RELIHT_OK);
    EXPECT_EQ(reliht_model_compare(context, planted, found, &recall, &error), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_model_compare(context, found, found, &recall, &error), RELIHT_OK);
    EXPECT_EQ(recall, 1);
    EXPECT_EQ(error, 0);
    reliht_model_destroy(found);
    reliht_model_destroy(planted);
}

TEST(ModelFile, ReadsBackWhatWasWritten)
{
    Context context(1);
    TemporaryDirectory folder;
    std::string path = folder.file("a.safetensors"), again = folder.file("b.safetensors");
    for (Shape shape : shapes())
        for (size_t factor : {1u, 130u}) { // more neurons than fit a piece
            for (size_t &hidden : shape.hidden)
                hidden *= factor;
            reliht_model *model, *read;
            ASSERT_EQ(make_model(context, shape, factor == 1 ? 0.5 : 0.005, 11, &model), RELIHT_OK);
            model->loss = RELIHT_LOSS_CROSS_ENTROPY;
            preprocessing *preparation = &model->preparation;
            *preparation = preprocessing{};
            preparation->kind = PREPROCESSING_FOURIER;
            preparation->scale = 1.0f / 255;
            strcpy(preparation->source, "mnist");
            preparation->class_count = 2;
            preparation->classes[0] = 3;
            preparation->classes[1] = 1;
            preparation->paper_split = true;
            preparation->width = 28;
            preparation->height = 29;
            preparation->image.features = 1500;
            preparation->image.sigma = 2.1;
            preparation->image.seed = UINT64_MAX;
            ASSERT_EQ(model_describe(model, "aiht", UINT64_MAX, 1000), RELIHT_OK);
            ASSERT_EQ(reliht_model_write(context, model, path.c_str()), RELIHT_OK)
                << context.message();
            ASSERT_EQ(reliht_model_read(context, path.c_str(), &read), RELIHT_OK)
                << context.message();
            expect_same_model(model, read);
            EXPECT_EQ(read->preparation.kind, PREPROCESSING_FOURIER);
            EXPECT_EQ(read->preparation.scale, 1.0f / 255);
            EXPECT_STREQ(read->preparation.source, "mnist");
            EXPECT_EQ(read->preparation.class_count, 2u);
            EXPECT_EQ(read->preparation.classes[0], 3u);
            EXPECT_EQ(read->preparation.classes[1], 1u);
            EXPECT_TRUE(read->preparation.paper_split);
            EXPECT_EQ(read->preparation.width, 28u);
            EXPECT_EQ(read->preparation.height, 29u);
            EXPECT_EQ(read->preparation.image.features, 1500u);
            EXPECT_EQ(read->preparation.image.sigma, 2.1);
            EXPECT_FALSE(read->preparation.image.unit_coordinates);
            EXPECT_EQ(read->preparation.image.seed, UINT64_MAX);
            ASSERT_EQ(reliht_model_write(context, read, again.c_str()), RELIHT_OK);
            EXPECT_EQ(read_bytes(path), read_bytes(again));
            reliht_model_destroy(model);
            reliht_model_destroy(read);
        }
}

TEST(ModelFile, HoldsTheBytesTheFormatPromises)
{
    Context context(1);
    TemporaryDirectory folder;
    reliht_model *model;
    ASSERT_EQ(known_model(context, &model), RELIHT_OK);
    ASSERT_EQ(reliht_model_write(context, model, folder.file("m").c_str()), RELIHT_OK);
    std::string header = replaced(known_header(), "\"0.1.0\"", "\"" RELIHT_VERSION_STRING "\"");
    header.resize((header.size() + 7) / 8 * 8, ' ');
    EXPECT_EQ(read_bytes(folder.file("m")), with_header(header, known_data()));
    reliht_model_destroy(model);
}

TEST(ModelFile, GoldenFilesStayReadable)
{
    Context context(1);
    TemporaryDirectory folder;
    std::string golden = RELIHT_TEST_DATA "/models/fused.safetensors";
    reliht_model *model, *known;
    ASSERT_EQ(reliht_model_read(context, golden.c_str(), &model), RELIHT_OK) << context.message();
    ASSERT_EQ(known_model(context, &known), RELIHT_OK);
    expect_same_weights(model->hidden[0], known->hidden[0]);
    EXPECT_EQ(model->signs, RELIHT_SIGNS_MIXED);
    ASSERT_EQ(reliht_model_write(context, model, folder.file("m").c_str()), RELIHT_OK);
    EXPECT_EQ(read_bytes(folder.file("m")), read_bytes(golden));
    reliht_model_destroy(model);
    reliht_model_destroy(known);

    golden = RELIHT_TEST_DATA "/models/factored.safetensors";
    ASSERT_EQ(reliht_model_read(context, golden.c_str(), &model), RELIHT_OK) << context.message();
    EXPECT_EQ(model->kind, RELIHT_FACTORED);
    EXPECT_EQ(model->layers, 2u);
    EXPECT_EQ(model->outputs, 3u);
    ASSERT_EQ(reliht_model_write(context, model, folder.file("m").c_str()), RELIHT_OK);
    EXPECT_EQ(read_bytes(folder.file("m")), read_bytes(golden));
    reliht_model_destroy(model);
}

TEST(ModelFile, BrokenGoldenFilesAreRefused)
{
    Context context(1);
    size_t files = 0;
    for (const auto &item :
         std::filesystem::directory_iterator(RELIHT_TEST_DATA "/models/broken")) {
        reliht_model *model;
        EXPECT_EQ(reliht_model_read(context, item.path().c_str(), &model), RELIHT_FORMAT)
            << item.path();
        EXPECT_EQ(model, nullptr);
        files++;
    }
    EXPECT_GE(files, 6u);
}

TEST(ModelFile, HandMadeFileIsRead)
{
    Context context(1);
    EXPECT_EQ(read_text(context, with_header(known_header(), known_data())), RELIHT_OK)
        << context.message();
    // Tensors in another order, as other programs may write them.
    std::string header = known_header();
    header = replaced(header, "[0,40]", "[12,52]");
    header = replaced(header, "[40,64]", "[56,80]");
    header = replaced(header, "[64,76]", "[0,12]");
    header = replaced(header, "[76,80]", "[52,56]");
    std::string data = known_data();
    data = data.substr(64, 12) + data.substr(0, 40) + data.substr(76, 4) + data.substr(40, 24);
    EXPECT_EQ(read_text(context, with_header(header, data)), RELIHT_OK) << context.message();
}

TEST(ModelFile, HostileHeadersAreRefused)
{
    struct Case {
        const char *from, *to, *message;
    };
    const Case cases[] = {
        {"{\"__metadata__\"", " {\"__metadata__\"", "must begin with '{'"},
        {"{\"__metadata__\"", "[\"__metadata__\"", "must begin with '{'"},
        {"{\"__metadata__\"", "{{\"__metadata__\"", "not valid JSON"},
        {"\"signs\":{", "\"layers.0.values\":{", "not valid JSON"}, // a duplicate key
        {"\"dtype\":\"I8\"", "\"dtype\":\"I8\",\"dtype\":\"I8\"", "not valid JSON"},
        {"\"__metadata__\"", "\"_metadata_\"", "no __metadata__"},
        {"\"format\":\"reliht\"", "\"format\":\"pt\"", "must be reliht"},
        {"\"format_version\":\"1\"", "\"format_version\":\"2\"", "must be 1"},
        {"\"kind\":\"fused\"", "\"kind\":\"dense\"", "must be fused or factored"},
        {"\"kind\":\"fused\"", "\"kind\":1", "must be a string"},
        {"\"loss\":\"mse\"", "\"loss\":\"\"", "must be mse or cross-entropy"},
        {"\"bias\":\"true\"", "\"bias\":\"yes\"", "must be false or true"},
        {"\"signs\":\"mixed\"", "\"signs\":\"auto\"", "must be plus or mixed"},
        {"\"signs\":\"mixed\"", "\"signs\":\"plus\"", "not the sign"},
        {"\"inputs\":\"2\"", "\"inputs\":\"-2\"", "inputs: must be a number"},
        {"\"inputs\":\"2\"", "\"inputs\":\"0\"", "inputs: must be a number"},
        {"\"inputs\":\"2\"", "\"inputs\":\"2 \"", "inputs: must be a number"},
        {"\"inputs\":\"2\"", "\"inputs\":\"2147483647\"", "inputs: must be a number"},
        {"\"inputs\":\"2\"", "\"inputs\":\"99999999999999999999\"", "inputs: must be a number"},
        {"\"inputs\":\"2\",", "", "inputs: must be a number"},
        {"\"inputs\":\"2\"", "\"inputs\":\"1\"", "an index must be below 2"},
        {"\"outputs\":\"1\"", "\"outputs\":\"2\"", "must be 1 in a fused model"},
        {"\"[4]\"", "\"[5]\"", "the number of neurons and one"},
        {"\"[4]\"", "\"[4,4]\"", "layers.1.crow_indices: is missing"},
        {"\"[4]\"", "\"[]\"", "a list of 1 to 64"},
        {"\"[4]\"", "\"[-4]\"", "a list of 1 to 64"},
        {"\"[4]\"", "\"[4294967300]\"", "a list of 1 to 64"},
        {"\"[4]\"", "\"[4\"", "must be valid JSON"},
        {"\"[4]\"", "\"{}\"", "a list of 1 to 64"},
        {"\\\"kind\\\":\\\"none\\\"", "\\\"kind\\\":\\\"jpeg\\\"", "preprocessing: must tell"},
        {"\\\"kind\\\":\\\"none\\\"", "\\\"kind\\\":\\\"fourier\\\"", "preprocessing: must tell"},
        {"\\\"scale\\\":0.0", "\\\"scale\\\":-1.0", "preprocessing: must tell"},
        {"\\\"scale\\\":0.0", "\\\"scale\\\":1e30", "preprocessing: must tell"},
        {"\\\"scale\\\":0.0", "\\\"scale\\\":0.004", "preprocessing: must tell"},
        {"\\\"kind\\\":\\\"none\\\"", "\\\"kind\\\":\\\"pixels\\\"", "preprocessing: must tell"},
        {"\\\"classes\\\":[]", "\\\"classes\\\":[-1]", "preprocessing: must tell"},
        {"\\\"classes\\\":[]", "\\\"classes\\\":3", "preprocessing: must tell"},
        {"\\\"source\\\":\\\"\\\"",
         "\\\"source\\\":\\\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\\"",
         "preprocessing: must tell"},
        {"\"dtype\":\"I8\"", "\"dtype\":\"U8\"", "signs: dtype is U8; it must be I8"},
        {"\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "dtype is F64"},
        {"\"dtype\":\"F32\"", "\"dtype\":7", "needs dtype"},
        {"\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"extra\":1", "and no more"},
        {"\"signs\":{", "\"sign\":{", "tensor sign is not part"},
        {",\"signs\":{\"data_offsets\":[76,80],\"dtype\":\"I8\",\"shape\":[4]}", "",
         "signs: is missing"},
        {"\"shape\":[4]", "\"shape\":[-4]", "not negative"},
        {"\"shape\":[4]", "\"shape\":[4,1]", "one number"},
        {"\"shape\":[4]", "\"shape\":[]", "one number"},
        {"\"shape\":[4]", "\"shape\":[4.0]", "one number"},
        {"\"shape\":[4]", "\"shape\":[9223372036854775807]", "do not span"},
        {"\"shape\":[4]", "\"shape\":[9223372036854775808]", "not valid JSON"},
        {"[64,76],\"dtype\":\"F32\",\"shape\":[3]", "[64,76],\"dtype\":\"F32\",\"shape\":[2]",
         "do not span"},
        {"[64,76]", "[64,75]", "do not span"},
        {"[64,76]", "[76,64]", "ascending"},
        {"[64,76]", "[-64,76]", "ascending"},
        {"[64,76]", "[64]", "ascending"},
        {"[64,76]", "[64,9223372036854775807]", "past the end"},
        {"[64,76]", "[60,72]", "without gap or overlap"},
        {"[64,76]", "[68,80]", "without gap or overlap"},
        {"[0,40]", "[40,80]", "without gap or overlap"},
        {"[64,76],\"dtype\":\"F32\",\"shape\":[3]", "[64,72],\"dtype\":\"F32\",\"shape\":[2]",
         "without gap or overlap"},
        {"[76,80],\"dtype\":\"I8\",\"shape\":[4]", "[76,79],\"dtype\":\"I8\",\"shape\":[3]",
         "1 bytes follow the last tensor"},
    };
    Context context(1);
    for (const Case &hostile : cases) {
        std::string header = replaced(known_header(), hostile.from, hostile.to);
        EXPECT_EQ(read_text(context, with_header(header, known_data())), RELIHT_FORMAT) << header;
        EXPECT_NE(context.message().find(hostile.message), std::string::npos)
            << context.message() << "\nshould say: " << hostile.message;
    }
}

TEST(ModelFile, HostileLengthsAllocateNothing)
{
    support::FailingAllocator allocator;
    Context context(1, &allocator);
    for (uint64_t length : {(uint64_t)81, (uint64_t)1 << 20, (uint64_t)1 << 40, UINT64_MAX}) {
        EXPECT_EQ(read_text(context, little_endian(length, 8) + known_data()), RELIHT_FORMAT);
        EXPECT_NE(context.message().find("byte 0"), std::string::npos) << context.message();
    }
    std::string huge((1 << 20) + 1, ' '); // there, but more than is read
    EXPECT_EQ(read_text(context, with_header(huge, "")), RELIHT_FORMAT);
    EXPECT_EQ(read_text(context, with_header("", known_data())), RELIHT_FORMAT);
    reliht_memory peak;
    reliht_context_memory(context, nullptr, &peak);
    EXPECT_LT(peak.total, 1u << 16);
}

TEST(ModelFile, HostileDataAreRefused)
{
    struct Case {
        size_t at;
        std::string bytes;
        const char *message;
    };
    const float infinite = std::numeric_limits<float>::infinity();
    const Case cases[] = {
        {0, indices({1}), "row starts must rise"},    // does not start at 0
        {8, indices({2, 1}), "row starts must rise"}, // falls
        {8, indices({-1}), "row starts must rise"},   // negative
        {24, indices({4}), "row starts must rise"},   // past the entries
        {32, indices({2}), "row starts must rise"},   // falls at the end
        {8, indices({1, 1, 2, 2}), "row starts must rise"} /* ends before nnz */,
        {40, indices({3}), "an index must be below 3"},
        {40, indices({-1}), "an index must be below 3"},
        {40, indices({int64_t{1} << 32}), "an index must be below 3"},
        {48, indices({2, 2}), "must ascend within neuron 2"},
        {48, indices({2, 1}), "must ascend within neuron 2"},
        {64, floats({NAN}), "not finite"},
        {72, floats({-infinite}), "not finite"},
        {76, std::string("\377"), "not the sign"},
        {77, std::string("\1"), "not the sign"},
        {79, std::string(1, '\0'), "not the sign"},
    };
    Context context(1);
    for (const Case &hostile : cases) {
        std::string data = known_data().replace(hostile.at, hostile.bytes.size(), hostile.bytes);
        EXPECT_EQ(read_text(context, with_header(known_header(), data)), RELIHT_FORMAT);
        EXPECT_NE(context.message().find(hostile.message), std::string::npos)
            << context.message() << "\nshould say: " << hostile.message;
        EXPECT_NE(context.message().find("byte "), std::string::npos) << context.message();
    }
    // The place of the bad value itself.
    std::string data = known_data().replace(72, 4, floats({NAN}));
    read_text(context, with_header(known_header(), data));
    std::string place = "byte " + std::to_string(8 + known_header().size() + 72);
    EXPECT_NE(context.message().find(place), std::string::npos) << context.message();
}

TEST(ModelFile, EveryTruncationIsRefused)
{
    Context context(1);
    std::string whole = with_header(known_header(), known_data());
    for (size_t length = 0; length < whole.size(); length++)
        EXPECT_EQ(read_text(context, whole.substr(0, length)), RELIHT_FORMAT) << length;
    EXPECT_EQ(read_text(context, whole + "x"), RELIHT_FORMAT);
}

TEST(ModelFile, FlippedBitsNeverHurt)
{
    Context context(1);
    std::string whole = with_header(known_header(), known_data());
    size_t refused = 0, tried = 0;
    for (size_t bit = 0; bit < whole.size() * 8; bit += 3) { // 3: every bit of a byte has its turn
        tried++;
        std::string flipped = whole;
        flipped[bit / 8] = (char)(flipped[bit / 8] ^ (1 << bit % 8));
        reliht_status status = read_text(context, flipped);
        EXPECT_TRUE(status == RELIHT_OK || status == RELIHT_FORMAT) << context.message();
        refused += status != RELIHT_OK;
    }
    EXPECT_GT(refused, tried / 2); // weights, seed and version may be anything
}

TEST(ModelFile, DeepJsonIsRefused)
{
    Context context(1);
    EXPECT_EQ(read_text(context, with_header("{\"a\":" + std::string(500000, '['), "")),
              RELIHT_FORMAT);
    std::string deep = replaced(known_header(), "\"[4]\"", "\"" + std::string(500000, '[') + "\"");
    EXPECT_EQ(read_text(context, with_header(deep, known_data())), RELIHT_FORMAT);
}

TEST(ModelFile, WritesOnlyToRegularFiles)
{
    Context context(1);
    TemporaryDirectory folder;
    reliht_model *model;
    ASSERT_EQ(known_model(context, &model), RELIHT_OK);
    std::string pipe = folder.file("pipe");
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    for (const std::string &path :
         {folder.path.string(), pipe, std::string("/dev/null"), folder.file("no/such/folder")}) {
        EXPECT_EQ(reliht_model_check_path(context, path.c_str()), RELIHT_IO) << path;
        EXPECT_EQ(reliht_model_write(context, model, path.c_str()), RELIHT_IO) << path;
        EXPECT_NE(context.message().find(path), std::string::npos) << context.message();
    }
    reliht_model *read;
    EXPECT_EQ(reliht_model_read(context, pipe.c_str(), &read), RELIHT_IO);
    EXPECT_EQ(reliht_model_read(context, folder.path.c_str(), &read), RELIHT_IO);
    EXPECT_EQ(reliht_model_read(context, folder.file("none").c_str(), &read), RELIHT_IO);
    EXPECT_EQ(read, nullptr);
    EXPECT_EQ(reliht_model_check_path(context, folder.file("new").c_str()), RELIHT_OK);
    EXPECT_FALSE(std::filesystem::exists(folder.file("new")));
    reliht_model_destroy(model);
}

TEST(ModelFile, UndescribedModelIsNotWritten)
{
    Context context(1);
    TemporaryDirectory folder;
    reliht_model *model;
    ASSERT_EQ(model_create(context, RELIHT_FUSED, 2, 1, false, &model), RELIHT_OK);
    EXPECT_EQ(reliht_model_write(context, model, folder.file("m").c_str()), RELIHT_ARGUMENT);
    EXPECT_FALSE(std::filesystem::exists(folder.file("m")));
    reliht_model_destroy(model);
}

TEST(ModelFile, AFullDiskLeavesTheOldFileAlone)
{
    Context context(1);
    TemporaryDirectory folder;
    std::string path = folder.file("m");
    reliht_model *model;
    ASSERT_EQ(make_model(context, {RELIHT_FUSED, {60000}, 2, 1, false, RELIHT_SIGNS_PLUS}, 0.1, 1,
                         &model),
              RELIHT_OK);
    ASSERT_EQ(model_describe(model, "aiht", 0, 1), RELIHT_OK);
    write_bytes(path, "old");
    // A limit on the size of files makes write fail as a full disk does.
    struct rlimit before, small;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    auto handler = signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    reliht_status status = reliht_model_write(context, model, path.c_str());
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    EXPECT_EQ(status, RELIHT_IO) << context.message();
    EXPECT_EQ(read_bytes(path), "old");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path),
                            std::filesystem::directory_iterator()),
              1);
    EXPECT_EQ(reliht_model_write(context, model, path.c_str()), RELIHT_OK);
    reliht_model_destroy(model);
}

TEST(ModelFile, MemoryDoesNotGrowWithHidden)
{
    Context context(1);
    TemporaryDirectory folder;
    uint64_t peaks[2];
    for (int wide = 0; wide < 2; wide++) {
        reliht_model *model, *read;
        size_t hidden = wide ? 1000000 : 1000;
        ASSERT_EQ(model_create(context, RELIHT_FUSED, 2, 1, false, &model), RELIHT_OK);
        ASSERT_EQ(sparse_create(context, &model->hidden[0], hidden, 2, 2), RELIHT_OK);
        model->layers = 1;
        sparse_append(&model->hidden[0], 1, 1, 1);
        sparse_append(&model->hidden[0], (uint32_t)hidden - 1, 0, 2);
        reliht_context_memory_reset_peak(context);
        ASSERT_EQ(model_describe(model, "aiht", 0, 1), RELIHT_OK);
        ASSERT_EQ(reliht_model_write(context, model, folder.file("m").c_str()), RELIHT_OK);
        ASSERT_EQ(reliht_model_read(context, folder.file("m").c_str(), &read), RELIHT_OK);
        expect_same_model(model, read);
        reliht_memory peak;
        reliht_context_memory(context, nullptr, &peak);
        peaks[wide] = peak.total;
        reliht_model_destroy(model);
        reliht_model_destroy(read);
    }
    EXPECT_LT(peaks[1], peaks[0] + 100); // some digits more in the header
}

TEST(ModelFile, EveryFailedAllocationIsClean)
{
    TemporaryDirectory folder;
    std::string path = folder.file("m");
    size_t allocations = support::fail_each_allocation([&](reliht_context *context) {
        reliht_model *model = nullptr, *read = nullptr;
        reliht_status status = make_model(context, shapes().back(), 0.5, 1, &model);
        if (!status)
            status = model_describe(model, "aiht", 1, 2);
        if (!status)
            status = reliht_model_write(context, model, path.c_str());
        if (!status)
            status = reliht_model_read(context, path.c_str(), &read);
        reliht_model_destroy(model);
        reliht_model_destroy(read);
        return status;
    });
    EXPECT_GT(allocations, 40u);
    // No temporary files are left over.
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path),
                            std::filesystem::directory_iterator()),
              1);
}

TEST(ModelFile, EveryFailedAllocationOfJsonIsClean)
{
    Context context(1);
    TemporaryDirectory folder;
    std::string path = folder.file("m");
    reliht_status status = RELIHT_MEMORY;
    json_malloc_t allocate;
    json_free_t release;
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(json_allocate, json_release);
    for (json_fail_at = 0; status && json_fail_at < 10000; json_fail_at++) {
        json_calls = json_live = 0;
        reliht_model *model, *read = nullptr;
        status = known_model(context, &model);
        if (!status)
            status = reliht_model_write(context, model, path.c_str());
        if (!status)
            status = reliht_model_read(context, path.c_str(), &read);
        // jansson itself takes some of its failures for errors in the text.
        EXPECT_TRUE(status == RELIHT_OK || status == RELIHT_MEMORY || status == RELIHT_FORMAT)
            << context.message();
        EXPECT_EQ(json_live, 0u) << "leak when allocation " << json_fail_at << " fails";
        reliht_model_destroy(model);
        reliht_model_destroy(read);
    }
    json_set_alloc_funcs(allocate, release);
    EXPECT_EQ(status, RELIHT_OK) << json_fail_at << ": " << context.message();
    EXPECT_GT(json_fail_at, 100u);
}
