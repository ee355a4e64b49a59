// The program itself on both backends: the same networks, within what rounding allows.
#include "parity/parity.h"
#include "program.h"

#include <map>
#include <set>

using namespace program;

namespace
{

class CudaEndToEnd : public Cli
{
  protected:
    void SetUp() override
    {
        PARITY_NEEDS_BACKEND();
        hide_gpus = false;
    }

    // Runs a command on a backend; its result.
    Json on(const std::string &backend, Words words) const
    {
        for (const char *word : {"--backend", backend.c_str(), "--json", "--quiet"})
            words.emplace_back(word);
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        Json result = last_line(outcome);
        EXPECT_EQ(result.text("backend"), backend);
        if (backend == "cuda") {
            EXPECT_GT(json_object_size(result["device_peak_bytes"]), 0u);
        }
        return result;
    }

    // The weights of the first layer of a model file, by place.
    static std::map<std::pair<uint32_t, uint32_t>, float> weights_of(const std::string &path)
    {
        support::Context context(1);
        reliht_model *model = nullptr;
        EXPECT_EQ(reliht_model_read(context, path.c_str(), &model), RELIHT_OK) << context.message();
        size_t nnz = 0;
        reliht_model_weights(model, 0, 0, nullptr, nullptr, nullptr, &nnz);
        std::vector<uint32_t> row(nnz), column(nnz);
        std::vector<float> value(nnz);
        reliht_model_weights(model, 0, nnz, row.data(), column.data(), value.data(), &nnz);
        reliht_model_destroy(model);
        std::map<std::pair<uint32_t, uint32_t>, float> weights;
        for (size_t k = 0; k < nnz; k++)
            weights[{row[k], column[k]}] = value[k];
        return weights;
    }

    // The same support in two model files, values within `tolerance` of the largest.
    void expect_same_weights(const std::string &a, const std::string &b, double tolerance) const
    {
        const auto left = weights_of(a), right = weights_of(b);
        ASSERT_EQ(left.size(), right.size());
        double largest = 0;
        for (const auto &[place, value] : left)
            largest = std::max(largest, std::fabs((double)value));
        for (const auto &[place, value] : left) {
            const auto found = right.find(place);
            ASSERT_NE(found, right.end()) << "neuron " << place.first << ", input " << place.second;
            EXPECT_NEAR(found->second, value, tolerance * largest);
        }
    }

    // Images: MNIST where RELIHT_TEST_MNIST names its folder, else Fashion-MNIST as Debian has it.
    static Words images()
    {
        const char *folder = getenv("RELIHT_TEST_MNIST");
        if (folder)
            return {"train", "--data", "mnist", "--data-dir", folder};
        return {"train", "--data", "fashion-mnist"};
    }
    static bool have_images()
    {
        return getenv("RELIHT_TEST_MNIST") ||
               std::filesystem::exists("/usr/share/datasets/fashion-mnist");
    }
};

Words operator+(Words words, const Words &more)
{
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

} // namespace

TEST_F(CudaEndToEnd, PlantedConvexIsRecovered)
{
    const Words words = {"planted", "--convex",    "--disjoint", "--magnitude-minimum",
                         "1",       "--samples",   "600",        "--inputs",
                         "30",      "--hidden",    "4",          "--nnz",
                         "12",      "--epochs",    "30",         "--seed",
                         "1",       "--tolerance", "1e-6"};
    for (const char *backend : {"cpu", "cuda"}) {
        Json result = on(backend, words);
        EXPECT_EQ(result.number("support_recall"), 1.0) << backend;
        EXPECT_LT(result.number("weight_rel_error"), 1e-5) << backend;
        EXPECT_GT(result.number("psnr_db"), 90) << backend;
    }
}

TEST_F(CudaEndToEnd, PlantedSequentialEndsWithTheSameSupport)
{
    for (const char *generator : {"sparse", "gaussian"}) {
        const Words words = {"planted", "--samples", "700",  "--inputs",    "20",      "--hidden",
                             "10",      "--nnz",     "15",   "--epochs",    "8",       "--seed",
                             "3",       "--return",  "last", "--generator", generator, "--model"};
        Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
        Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
        EXPECT_NEAR(cuda.number("psnr_db"), cpu.number("psnr_db"), 0.01);
        expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-4);
    }
}

TEST_F(CudaEndToEnd, ExactRecovery)
{
    for (const Words &kind :
         {Words{"--samples", "200", "--inputs", "5", "--hidden", "2", "--nnz", "3"},
          Words{"--samples", "300", "--inputs", "8", "--hidden", "4", "--planted-hidden", "2",
                "--nnz", "4", "--convex", "--disjoint", "--magnitude-minimum", "1"}}) {
        const Words words =
            Words{"planted", "--solver", "recover", "--epochs", "2", "--seed", "1"} + kind;
        for (const char *backend : {"cpu", "cuda"}) {
            Json result = on(backend, words);
            EXPECT_EQ(result.number("support_recall"), 1.0) << backend;
            EXPECT_LT(result.number("weight_rel_error"), 1e-5) << backend;
        }
    }
}

TEST_F(CudaEndToEnd, SeveralOutputsAreFittedAsWell)
{
    const Words words = {"planted", "--solver", "recover", "--outputs", "2", "--samples",
                         "200",     "--inputs", "6",       "--hidden",  "3", "--nnz",
                         "8",       "--epochs", "3",       "--seed",    "1"};
    double cpu = on("cpu", words).number("psnr_db"), cuda = on("cuda", words).number("psnr_db");
    EXPECT_GT(cpu, 30);
    EXPECT_GT(cuda, 30); // the searches part at the first rounding that matters
}

TEST_F(CudaEndToEnd, TwoLayersAndMinibatches)
{
    const Words words = {"planted", "--samples", "500",  "--inputs", "12", "--hidden",
                         "8",       "--nnz",     "20",   "--layers", "2",  "--epochs",
                         "4",       "--return",  "last", "--seed",   "2",  "--model"};
    Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
    Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
    EXPECT_NEAR(cuda.number("psnr_db"), cpu.number("psnr_db"), 0.05);
    expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-4);
    const Words batches = {"planted", "--samples", "500",  "--inputs", "12",  "--hidden",
                           "8",       "--nnz",     "12",   "--batch",  "200", "--epochs",
                           "3",       "--return",  "last", "--model"};
    on("cpu", batches + Words{file("cpu.safetensors")});
    on("cuda", batches + Words{file("cuda.safetensors")});
    expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-4);
}

TEST_F(CudaEndToEnd, TwoClassesOfImages)
{
    if (!have_images())
        GTEST_SKIP() << "no images: install dataset-fashion-mnist or set RELIHT_TEST_MNIST";
    const Words words =
        images() + Words{"--classes",    "0,1",           "--hidden", "5",        "--nnz",
                         "20",           "--train-limit", "300",      "--epochs", "4",
                         "--test-limit", "200",           "--return", "last",     "--model"};
    Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
    Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
    EXPECT_NEAR(cuda.number("test_accuracy"), cpu.number("test_accuracy"), 0.011);
    expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-3);
    // a model of one backend is read and evaluated by the other
    const Words eval = {"eval", "--model", file("cuda.safetensors"), "--test-limit", "200"};
    Words with_data = eval;
    if (getenv("RELIHT_TEST_MNIST"))
        with_data = with_data + Words{"--data-dir", getenv("RELIHT_TEST_MNIST")};
    EXPECT_NEAR(on("cuda", with_data).number("test_accuracy"),
                on("cpu", with_data).number("test_accuracy"), 0.006);
}

TEST_F(CudaEndToEnd, SmallImage)
{
    std::vector<float> pixels(8 * 7);
    for (size_t i = 0; i < pixels.size(); i++)
        pixels[i] = (float)(i * 37 % 64) / 64;
    {
        support::Context context(1);
        ASSERT_EQ(reliht_image_write(context, file("a.png").c_str(), 7, 8, 1, pixels.data()),
                  RELIHT_OK);
    }
    const Words words = {"inr",  "--image",  file("a.png"), "--features", "30", "--hidden",
                         "4",    "--nnz",    "20",          "--epochs",   "6",  "--return",
                         "last", "--solver", "aiht",        "--model"};
    Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
    Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
    EXPECT_NEAR(cuda.number("psnr_db"), cpu.number("psnr_db"), 0.05);
    expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-3);
}

TEST_F(CudaEndToEnd, Pruning)
{
    const Words words = {"prune",    "planted", "--samples", "200", "--inputs", "8",
                         "--hidden", "6",       "--nnz",     "9",   "--epochs", "3",
                         "--batch",  "100",     "--seed",    "4",   "--model"};
    Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
    Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
    EXPECT_EQ(cuda.number("nnz_used"), 9);
    EXPECT_NEAR(cuda.number("psnr_db"), cpu.number("psnr_db"), 0.01);
    expect_same_weights(file("cpu.safetensors"), file("cuda.safetensors"), 1e-4);
}

TEST_F(CudaEndToEnd, Sensing)
{
    const Words words = {"sense", "--length", "200", "--measurements", "80", "--nnz",
                         "4",     "--epochs", "8"};
    for (const char *backend : {"cpu", "cuda"}) {
        Json result = on(backend, words);
        EXPECT_EQ(result.number("support_recall"), 1.0) << backend;
        EXPECT_LT(result.number("weight_rel_error"), 1e-6) << backend;
    }
}

TEST_F(CudaEndToEnd, AutoTakesTheGpuAndSaysSo)
{
    Outcome outcome = run({"info", "--backend", "auto", "--json"});
    EXPECT_EQ(outcome.status, 0);
    EXPECT_NE(outcome.err.find("computing on cuda"), std::string::npos) << outcome.err;
    Json info = last_line(outcome);
    EXPECT_EQ(info.text("backend"), "cuda");
    ASSERT_GT(json_array_size(info["devices"]), 0u);
    json_t *device = json_array_get(info["devices"], 0);
    EXPECT_GE(json_integer_value(json_object_get(device, "compute_major")), 8);
    EXPECT_GT(json_integer_value(json_object_get(device, "memory_bytes")), 0);
}
TEST_F(CudaEndToEnd, TenClassesOfImages)
{
    if (!have_images())
        GTEST_SKIP() << "no images: install dataset-fashion-mnist or set RELIHT_TEST_MNIST";
    const Words words =
        images() + Words{"--solver",      "aiht", "--hidden", "20",   "--nnz",    "300",
                         "--train-limit", "400",  "--batch",  "100",  "--epochs", "4",
                         "--test-limit",  "200",  "--return", "last", "--model"};
    Json cpu = on("cpu", words + Words{file("cpu.safetensors")});
    Json cuda = on("cuda", words + Words{file("cuda.safetensors")});
    // sixteen steps of Adam amplify rounding, and a sketch decides by small differences
    EXPECT_NEAR(cuda.number("loss_final"), cpu.number("loss_final"), 0.05);
    EXPECT_NEAR(cuda.number("test_accuracy"), cpu.number("test_accuracy"), 0.05);
    EXPECT_GT(cuda.number("train_accuracy"), 0.3); // chance: 0.1
    // and the same run again gives the same bits
    on("cuda", words + Words{file("again.safetensors")});
    EXPECT_EQ(read_file(file("cuda.safetensors")), read_file(file("again.safetensors")));
}
