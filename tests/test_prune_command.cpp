// `reliht prune` as users run it.
#include "program.h"
#include "support.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <thread>

using namespace program;

namespace
{

class PruneCommand : public Cli
{
  protected:
    // x.npy, y.npy and words that prune on them quickly.
    Words regression(const Words &more) const
    {
        write_regression(200, 4);
        Words words = {"prune",    "--x", file("x.npy"), "--y", file("y.npy"),
                       "--hidden", "5",   "--epochs",    "4",   "--json"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
};

std::vector<std::string> lines_of(const std::string &text)
{
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

} // namespace

TEST_F(PruneCommand, TellsEverythingOfOneTarget)
{
    Outcome outcome = run(regression({"--nnz", "8", "--model", file("m.safetensors")}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.text("command"), "prune");
    EXPECT_EQ(result.text("task"), "train");
    EXPECT_EQ(result.text("solver"), "imp");
    EXPECT_EQ(result.text("model"), file("m.safetensors"));
    EXPECT_EQ(result.number("samples"), 200);
    EXPECT_EQ(result.number("inputs"), 4);
    EXPECT_EQ(result.number("hidden"), 5);
    EXPECT_EQ(result.number("layers"), 1);
    EXPECT_EQ(result.number("nnz_budget"), 8);
    EXPECT_EQ(result.number("nnz_used"), 8);
    EXPECT_EQ(result.number("dense_bytes"), 100);
    EXPECT_EQ(json_array_size(result["targets"]), 1u);
    for (const char *key :
         {"seed", "rounds", "epochs", "epochs_all", "loss_final", "psnr_db", "psnr_db_cut",
          "dense_psnr_db", "seconds", "cpu_seconds", "peak_rss_bytes"})
        result.number(key);
    Outcome eval = run({"eval", "--model", file("m.safetensors"), "--x", file("x.npy"), "--y",
                        file("y.npy"), "--json"});
    ASSERT_EQ(eval.status, 0) << eval.err;
    EXPECT_NEAR(last_line(eval).number("psnr_db"), result.number("psnr_db"), 1e-6);
}

TEST_F(PruneCommand, SeveralTargetsHaveAFileEach)
{
    Outcome outcome = run(regression({"--nnz", "8,15,4", "--model", file("m.safetensors"), "--log",
                                      file("log.jsonl"), "--prune-rate", "0.5"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    ASSERT_EQ(json_array_size(result["targets"]), 3u);
    const int expected[] = {15, 8, 4};
    for (size_t t = 0; t < 3; t++) {
        std::string path = file("m-" + std::to_string(expected[t]) + ".safetensors");
        Json line(json_incref(json_array_get(result["targets"], t)));
        EXPECT_EQ(line.number("nnz_budget"), expected[t]);
        EXPECT_EQ(line.number("nnz_used"), expected[t]);
        EXPECT_EQ(line.text("model"), path);
        EXPECT_EQ(run({"info", "--model", path}).status, 0);
    }
    EXPECT_EQ(result.number("nnz_budget"), 4);
    EXPECT_EQ(result.number("rounds"), 3); // 25 weights: 15 (not 12), 8 (not 7), 4
    // a line an epoch and one after each cut
    std::vector<std::string> lines = lines_of(read_file(file("log.jsonl")));
    EXPECT_EQ(lines.size(), result.number("epochs_all") + result.number("rounds"));
    EXPECT_NE(lines[4].find("\"round\":1,\"epoch\":0"), std::string::npos) << lines[4];
}

TEST_F(PruneCommand, TasksTakeTheDataOfTheirCommands)
{
    Outcome planted = run({"prune", "planted", "--samples", "300", "--inputs", "10", "--hidden",
                           "4", "--nnz", "12", "--epochs", "2", "--json"});
    ASSERT_EQ(planted.status, 0) << planted.err;
    EXPECT_EQ(last_line(planted).text("task"), "planted");
    EXPECT_EQ(last_line(planted).number("inputs"), 10);
    last_line(planted).number("psnr_db_cut");

    support::Context context;
    std::vector<float> pixels(48);
    for (size_t i = 0; i < pixels.size(); i++)
        pixels[i] = (float)(i % 8) / 8.0f;
    ASSERT_EQ(reliht_image_write(context, file("in.png").c_str(), 8, 6, 1, pixels.data()),
              RELIHT_OK);
    Outcome inr = run({"prune", "inr", "--image", file("in.png"), "--features", "20", "--nnz",
                       "30,60", "--epochs", "3", "--out", file("out.png"), "--model",
                       file("m.safetensors"), "--json"});
    ASSERT_EQ(inr.status, 0) << inr.err;
    EXPECT_EQ(last_line(inr).number("inputs"), 20);
    EXPECT_FALSE(read_file(file("out-30.png")).empty());
    Outcome again = run({"predict", "--model", file("m-60.safetensors"), "--image", file("in.png"),
                         "--out", file("again.png")});
    ASSERT_EQ(again.status, 0) << again.err;
    EXPECT_EQ(read_file(file("again.png")), read_file(file("out-60.png")));
}

TEST_F(PruneCommand, ClassesHaveAccuraciesOfBothParts)
{
    write_images(150);
    Outcome outcome = run({"prune",        "train",
                           "--x",          file("images.npy"),
                           "--y",          file("labels.npy"),
                           "--x-test",     file("images.npy"),
                           "--y-test",     file("labels.npy"),
                           "--hidden",     "20",
                           "--nnz",        "60",
                           "--epochs",     "30",
                           "--batch",      "10",
                           "--prune-rate", "2",
                           "--bias",       "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("dense_train_accuracy"), 1);
    EXPECT_EQ(result.number("dense_test_accuracy"), 1);
    EXPECT_GT(result.number("test_accuracy"), 0.95);
    EXPECT_GT(result.number("test_accuracy_cut"), 0.3);
    EXPECT_EQ(result.number("train_accuracy"), result.number("test_accuracy"));
}

TEST_F(PruneCommand, HumanResultNamesDenseAndCut)
{
    Words words = regression({"--nnz", "10,5"});
    words.erase(std::find(words.begin(), words.end(), "--json"));
    Outcome outcome = run(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    for (const char *part : {"dense           PSNR", "10 weights      PSNR", "5 weights       PSNR",
                             "right after the cut PSNR", "pruning         "})
        EXPECT_NE(outcome.out.find(part), std::string::npos) << outcome.out;
}

TEST_F(PruneCommand, WrongUsageIsNamed)
{
    write_regression(50, 4);
    const Words data = {"--x", file("x.npy"), "--y", file("y.npy")};
    struct Case {
        Words words;
        std::string message;
    };
    const Case cases[] = {
        {{}, "--data"},
        {{"sense"}, "'sense' is unknown, there is 'train' or 'planted' or 'inr'"},
        {{"train", "planted"}, "'planted' is not expected"},
        {{"--nnz", "0"}, "--nnz: '0' is not different whole numbers from 1"},
        {{"--nnz", "5,5"}, "--nnz: '5,5'"},
        {{"--nnz", "5,"}, "--nnz: '5,'"},
        {{"--nnz", "-5"}, "--nnz: '-5'"},
        {{"--hidden", "0"}, "--hidden: '0'"},
        {{"--layers", "65"}, "--layers: '65'"},
        {{"--epochs", "0"}, "--epochs: '0'"},
        {{"--epochs-final", "0"}, "--epochs-final: '0'"},
        {{"--prune-rate", "-1"}, "--prune-rate: '-1'"},
        {{"--prune-rate", "1001"}, "--prune-rate: '1001'"},
        {{"--learning-rate", "0"}, "--learning-rate: '0'"},
        {{"--learning-rate", "nan"}, "--learning-rate: 'nan'"},
        {{"--validation", "1"}, "--validation: '1'"},
        {{"--image", "i.png"}, "--image is not for the task train"},
        {{"--samples", "5"}, "--samples is not for the task train"},
        {{"planted", "--x", "x"}, "--x is not for the task planted"},
        {{"inr", "--disjoint"}, "--disjoint is not for the task inr"},
        {{"inr"}, "--image"},
        {{"--signs", "mixed"}, "--signs is for the task planted"},
        {{"--planted-nnz", "5"}, "--planted-nnz is for the task planted"},
        {{"--out", "o.png"}, "--out is not for the task train"},
        {{"--convex"}, "--convex"},
        {{"--refits", "5"}, "--refits"},
        {{"planted", "--nnz", "5000"}, "--nnz"},
    };
    for (const Case &c : cases) {
        Words words = {"prune"};
        words.insert(words.end(), c.words.begin(), c.words.end());
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_EQ(outcome.out, "");
        if (c.message != "--nnz") {
            EXPECT_NE(outcome.err.find(c.message), std::string::npos) << outcome.err;
        }
    }
    for (const auto &[more, message] :
         {std::pair<Words, const char *>{{"--nnz", "501", "--hidden", "100"}, "500 weights"},
          {{"--nnz", "5", "--prune-rate", "1.5"}, "pruning rate is 1.5"},
          {{"--nnz", "5", "--loss", "cross-entropy"}, "cross-entropy"}}) {
        Words words = {"prune"};
        words.insert(words.end(), data.begin(), data.end());
        words.insert(words.end(), more.begin(), more.end());
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_NE(outcome.err.find(message), std::string::npos) << outcome.err;
    }
}

TEST_F(PruneCommand, OutputsAreCheckedBeforeTheWork)
{
    Outcome outcome = run(regression({"--nnz", "8,4", "--model", file("no/m.safetensors")}));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("no/m-8.safetensors"), std::string::npos) << outcome.err;
    outcome = run(regression({"--nnz", "8", "--model", file("x.npy")}));
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("is read by this run"), std::string::npos) << outcome.err;
    outcome = run(regression({"--nnz", "8", "--model", file("one"), "--log", file("one")}));
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("two different things"), std::string::npos) << outcome.err;
    outcome = run(regression(
        {"--nnz", "8,4", "--model", file("m.safetensors"), "--log", file("./m-4.safetensors")}));
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("two different things"), std::string::npos) << outcome.err;
}

TEST_F(PruneCommand, ASignalLeavesTheModelsSoFar)
{
    pid_t child = start(regression({"--nnz", "8,4", "--epochs", "100000000", "--model",
                                    file("m.safetensors"), "--log", file("log.jsonl")}));
    for (int i = 0; i < 3000 && read_file(file("log.jsonl")).empty(); i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, SIGINT);
    Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 128 + SIGINT) << outcome.err;
    EXPECT_EQ(last_line(outcome).number("nnz_used"), 4);
    EXPECT_EQ(run({"info", "--model", file("m-8.safetensors")}).status, 0);
    EXPECT_EQ(run({"info", "--model", file("m-4.safetensors")}).status, 0);
}
