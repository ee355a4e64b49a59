// The program as users run it: a process with arguments, what it prints, how it ends.
#include "program.h"

#include <jansson.h>

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>
#include <vector>

using namespace program;

namespace
{

const char *const COMMANDS[] = {"train",   "planted", "inr",   "sense",   "prune", "eval",
                                "predict", "info",    "sweep", "certify", "bench"};

// What each command must know.
const std::map<std::string, Words> OPTIONS = {
    {"train", {"data",       "data-dir", "x",         "y",         "x-test",     "y-test",
               "classes",    "split",    "raw",       "hidden",    "nnz",        "layers",
               "bias",       "signs",    "convex",    "generator", "generators", "solver",
               "epochs",     "batch",    "refits",    "loss",      "importance", "step",
               "validation", "return",   "tolerance", "seed",      "model",      "log",
               "picture",    "json",     "quiet",     "backend",   "threads",    "help"}},
    {"planted",
     {"samples",
      "inputs",
      "outputs",
      "hidden",
      "nnz",
      "layers",
      "planted-hidden",
      "disjoint",
      "magnitude-minimum",
      "convex",
      "bias",
      "signs",
      "generator",
      "generators",
      "loss",
      "solver",
      "epochs",
      "batch",
      "refits",
      "importance",
      "step",
      "validation",
      "return",
      "tolerance",
      "seed",
      "model",
      "log",
      "json",
      "quiet",
      "backend",
      "noise",
      "inputs-from",
      "inputs-draw",
      "correlation",
      "density",
      "threads",
      "help"}},
    {"inr",
     {"image", "out", "features", "sigma", "coordinates", "hidden", "nnz", "layers", "epochs",
      "batch", "seed", "model", "log", "json", "quiet", "backend", "threads", "help"}},
    {"sense",
     {"length", "nnz", "measurements", "epochs", "refits", "tolerance", "seed", "log", "json",
      "quiet", "backend", "threads", "help"}},
    {"prune", {"data",         "data-dir",    "x",           "y",
               "x-test",       "y-test",      "classes",     "split",
               "raw",          "train-limit", "test-limit",  "image",
               "features",     "sigma",       "coordinates", "samples",
               "inputs",       "outputs",     "disjoint",    "planted-hidden",
               "planted-nnz",  "hidden",      "nnz",         "layers",
               "bias",         "no-bias",     "signs",       "epochs",
               "epochs-final", "batch",       "prune-rate",  "learning-rate",
               "loss",         "validation",  "seed",        "model",
               "log",          "out",         "json",        "quiet",
               "backend",      "threads",     "help"}},
    {"eval",
     {"model", "data", "data-dir", "x", "y", "classes", "split", "part", "raw", "image", "json",
      "quiet", "backend", "threads", "help"}},
    {"predict",
     {"model", "data", "data-dir", "x", "classes", "split", "part", "raw", "image", "out", "json",
      "quiet", "backend", "threads", "help"}},
    {"info", {"model", "json", "backend", "threads", "help"}},
    {"certify", {"data",
                 "data-dir",
                 "x",
                 "classes",
                 "split",
                 "raw",
                 "train-limit",
                 "samples",
                 "inputs",
                 "hidden",
                 "nnz",
                 "model",
                 "disjoint",
                 "planted-hidden",
                 "correlation",
                 "inputs-draw",
                 "density",
                 "seed",
                 "json",
                 "generator",
                 "magnitude-minimum",
                 "directions",
                 "searches",
                 "picture",
                 "quiet",
                 "threads",
                 "backend",
                 "help"}},
    {"sweep",
     {"axes", "hidden", "nnz", "seeds", "method", "metric", "out", "jobs", "json", "quiet",
      "threads", "help"}},
    {"bench",
     {"samples", "inputs", "hidden", "nnz", "generator", "repeats", "json", "quiet", "backend",
      "threads", "help"}},
};

} // namespace

// ---------------------------------------------------------------- help and usage

TEST_F(Cli, HelpListsTheCommands)
{
    for (const Words &words : {Words{"help"}, Words{"--help"}, Words{"-h"}}) {
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 0);
        EXPECT_EQ(outcome.err, "");
        for (const char *name : COMMANDS)
            EXPECT_NE(outcome.out.find(std::string("\n  ") + name + " "), std::string::npos)
                << name;
    }
    Outcome bare = run({});
    EXPECT_EQ(bare.status, 2);
    EXPECT_EQ(bare.out, "");
    EXPECT_NE(bare.err.find("Usage: reliht COMMAND"), std::string::npos);
}

TEST_F(Cli, HelpOfACommandHasItsOptionsWithDefaultsAndAnExample)
{
    for (const auto &[name, options] : OPTIONS) {
        Outcome outcome = run({"help", name});
        EXPECT_EQ(outcome.status, 0);
        EXPECT_EQ(outcome.out, run({name, "--help"}).out);
        EXPECT_NE(outcome.out.find("\nExample:\n  reliht " + name), std::string::npos) << name;
        for (const std::string &option : options) {
            if (option == "help") {
                EXPECT_NE(outcome.out.find("  -h, --help"), std::string::npos);
                continue;
            }
            std::string begin = "\n      --" + option;
            size_t place = outcome.out.find(begin);
            while (place != std::string::npos && // --x is not the beginning of --x-test
                   !std::strchr("= [", outcome.out[place + begin.size()]))
                place = outcome.out.find(begin, place + 1);
            ASSERT_NE(place, std::string::npos) << name << " --" << option;
            std::string text =
                outcome.out.substr(place, outcome.out.find("\n      --", place + 1) - place);
            EXPECT_NE(text.find("(default:"), std::string::npos) << name << " --" << option;
        }
    }
}

TEST_F(Cli, VersionIsThatOfTheLibrary)
{
    EXPECT_EQ(run({"version"}).out, std::string("reliht ") + reliht_version() + "\n");
    EXPECT_EQ(run({"--version"}).status, 0);
    EXPECT_EQ(run({"version", "now"}).status, 2);
}

TEST_F(Cli, WrongUsageEndsWith2AndNamesWhatIsWrong)
{
    struct Case {
        Words words;
        std::string message; // part of it
    };
    const Case cases[] = {
        {{"trane"}, "'trane'"},
        {{"help", "trane"}, "'trane'"},
        {{"help", "train", "eval"}, "one command"},
        {{"train"}, "--data"},
        {{"train", "--hiden", "5"}, "--hiden"},
        {{"train", "--hidden"}, "--hidden needs a value"},
        {{"train", "--hidden", "0"}, "--hidden: '0' is not a whole number from 1 to 2147483647"},
        {{"train", "--hidden=12x"}, "--hidden: '12x'"},
        {{"train", "--hidden", " 12"}, "--hidden: ' 12'"},
        {{"train", "--hidden", "+12"}, "--hidden: '+12'"},
        {{"train", "--hidden", "1e3"}, "--hidden: '1e3'"},
        {{"train", "--hidden", ""}, "--hidden: ''"},
        {{"train", "--nnz", "2147483648"}, "--nnz: '2147483648'"},
        {{"train", "--seed", "-1"}, "--seed: '-1'"},
        {{"train", "--seed", "9223372036854775808"}, "to 9223372036854775807"},
        {{"train", "--seed", "99999999999999999999999"}, "--seed: '9999"},
        {{"train", "--tolerance", "nan"}, "--tolerance: 'nan' is not a number from 0 to 1"},
        {{"train", "--tolerance", "0.5x"}, "--tolerance: '0.5x'"},
        {{"train", "--tolerance", "inf"}, "--tolerance: 'inf'"},
        {{"train", "--validation", "1"}, "--validation: '1' is not a number from 0 to 0.9"},
        {{"train", "--x", "a", "--y", "b", "--train-limit", "5"}, "--train-limit goes with --data"},
        {{"train", "--x", "a", "--y", "b", "--test-limit", "5"}, "--test-limit goes with --data"},
        {{"train", "--x", "a", "--y", "b", "--split", "paper"}, "--split paper goes with --data"},
        {{"train", "--validation", "1e-999"}, "--validation: '1e-999'"},
        {{"train", "--loss", "hinge"}, "--loss: 'hinge' is not one of auto, mse, cross-entropy"},
        {{"sense", "--threads", "4097"}, "--threads: '4097' is not a whole number from 0 to 4096"},
        {{"train", "--backend", "gpu"}, "one of auto, cpu, cuda"},
        {{"train", "--data", "imagenet"}, "one of fashion-mnist, mnist, cifar10"},
        {{"train", "--data", "mnist", "--classes", "1"}, "--classes: '1'"},
        {{"train", "--data", "mnist", "--classes", "1,1"}, "--classes: '1,1'"},
        {{"train", "--data", "mnist", "--classes", "0,,1"}, "--classes: '0,,1'"},
        {{"train", "--data", "mnist", "--classes", "0,-1"}, "--classes: '0,-1'"},
        {{"train", "--data", "mnist", "--x", "x.npy"}, "exclude each other"},
        {{"train", "--x", "x.npy"}, "--y"},
        {{"train", "--y", "y.npy"}, "--x"},
        {{"train", "--x", "x.npy", "--y", "y.npy", "--x-test", "t.npy"}, "--y-test"},
        {{"train", "--x", "x.npy", "--y", "y.npy", "--classes", "0,1"}, "--classes goes with"},
        {{"train", "--json=yes"}, "--json takes no value"},
        {{"train", "now"}, "'now'"},
        {{"train", "--model", ""}, "--model: ''"},
        {{"planted", "--hidden", "3", "--planted-hidden", "4"}, "--planted-hidden"},
        {{"inr"}, "--image"},
        {{"inr", "--image", "i.png", "--features", "3"}, "--features"},
        {{"sense", "--hidden", "5"}, "--hidden"},
        {{"eval"}, "--model"},
        {{"predict"}, "--model"},
        {{"bench"}, "bench sweep"},
        {{"bench", "speed"}, "'speed'"},
        {{"bench", "sweep", "--samples", "10"}, "go together"},
    };
    for (const Case &c : cases) {
        Outcome outcome = run(c.words);
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_EQ(outcome.out, "");
        EXPECT_NE(outcome.err.find(c.message), std::string::npos) << c.message << "\n"
                                                                  << outcome.err;
        EXPECT_NE(outcome.err.find("See `reliht help"), std::string::npos) << outcome.err;
    }
}

TEST_F(Cli, OptionsWithoutEffectAreRefused)
{
    struct Case {
        Words words;
        std::string option, beside;
    };
    std::vector<Case> cases = {
        {{"inr", "--image", "i", "--bias", "--no-bias"}, "bias", "beside --no-bias"},
        {{"prune", "inr", "--image", "i", "--no-bias", "--bias"}, "bias", "beside --no-bias"},
        {{"eval", "--model", "m", "--train-limit", "5"}, "train-limit", "without --part train"},
        {{"eval", "--model", "m", "--part", "train", "--test-limit", "5"},
         "test-limit",
         "without --part test"},
        {{"predict", "--model", "m", "--x", "x", "--part", "train"}, "part", "beside --x"},
        {{"certify", "--x", "x", "--train-limit", "5"}, "train-limit", "without --data"},
        {{"certify", "--raw"}, "raw", "without --data"},
        {{"certify", "--split", "paper"}, "split", "without --data"},
    };
    const Words data = {"--data=mnist",    "--data-dir=d",  "--x=x", "--classes=0,1",
                        "--split=paper",   "--part=test",   "--raw", "--y=y",
                        "--train-limit=5", "--test-limit=5"};
    const Words draws = {"--samples=50", "--inputs=5", "--inputs-draw=correlated",
                         "--correlation=0.5", "--density=0.5"};
    auto add = [&](const Words &words, const std::string &option, const std::string &beside) {
        Words all = words;
        all.push_back(option);
        cases.push_back({all, option.substr(2, option.find('=') - 2), beside});
    };
    for (const std::string &option : data)
        add({"eval", "--model", "m", "--image", "i"}, option, "beside --image");
    add({"predict", "--image", "i", "--model", "m"}, "--part=test", "beside --image");
    for (const std::string &option : draws) {
        add({"planted", "--inputs-from", "x"}, option, "beside --inputs-from");
        add({"prune", "planted", "--inputs-from", "x"}, option, "beside --inputs-from");
        add({"certify", "--x", "x"}, option, "beside --x");
        add({"certify", "--data", "mnist"}, option, "beside --data");
    }
    for (const char *option :
         {"--inputs=5", "--planted-hidden=2", "--nnz=3", "--disjoint", "--magnitude-minimum=1"})
        add({"certify", "--model", "m"}, option, "beside --model");
    for (const char *command : {"planted", "certify"}) {
        add({command}, "--correlation=0.3", "without --inputs-draw correlated");
        add({command, "--inputs-draw", "correlated"}, "--density=0.3",
            "without --inputs-draw sparse");
    }
    for (const Case &c : cases) {
        Outcome outcome = run(c.words);
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_NE(outcome.err.find("--" + c.option + " has no effect " + c.beside + "."),
                  std::string::npos)
            << c.option << "\n"
            << outcome.err;
    }
}

TEST_F(Cli, HelpOfSenseSpeaksOfVectors)
{
    std::string help = run({"help", "sense"}).out;
    for (const char *word : {"recover: ", "layer", "output)", "weights", "batch"})
        EXPECT_EQ(help.find(word), std::string::npos) << word;
    Outcome outcome = run({"sense", "--solver", "recover"});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("--solver: 'recover' is not one of auto, aiht"), std::string::npos)
        << outcome.err;
}

// ---------------------------------------------------------------- the commands

TEST_F(Cli, PlantedPrintsEveryKey)
{
    Outcome outcome = run({"planted",    "--samples",
                           "300",        "--inputs",
                           "20",         "--hidden",
                           "3",          "--nnz",
                           "6",          "--convex",
                           "--disjoint", "--magnitude-minimum",
                           "1",          "--epochs",
                           "60",         "--seed",
                           "4",          "--json",
                           "--log",      file("log.jsonl"),
                           "--model",    file("model.safetensors")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.text("command"), "planted");
    EXPECT_EQ(result.text("solver"), "aiht");
    EXPECT_FALSE(result.text("backend").empty());
    EXPECT_EQ(result.number("samples"), 300);
    EXPECT_EQ(result.number("inputs"), 20);
    EXPECT_EQ(result.number("outputs"), 1);
    EXPECT_EQ(result.number("hidden"), 3);
    EXPECT_EQ(result.number("layers"), 1);
    EXPECT_EQ(result.number("nnz_budget"), 6);
    EXPECT_EQ(result.number("nnz_used"), 6);
    EXPECT_EQ(result.number("epochs"), 60);
    EXPECT_EQ(result.number("seed"), 4);
    EXPECT_EQ(result.number("support_recall"), 1);
    EXPECT_LT(result.number("weight_rel_error"), 1e-5);
    EXPECT_LT(result.number("loss_final"), 1e-8);
    EXPECT_EQ(result.number("dense_bytes"), 4 * 3 * 20);
    EXPECT_TRUE(result["psnr_db"] != nullptr);
    EXPECT_GT(result.number("peak_rss_bytes"), 0);
    for (const char *key : {"seconds", "cpu_seconds", "seconds_sweep"})
        EXPECT_GE(result.number(key), 0) << key;
    for (const char *key :
         {"data", "weights", "patterns", "candidates", "importance", "screening", "workspace"})
        EXPECT_TRUE(json_is_integer(json_object_get(result["peak_bytes"], key))) << key;
    EXPECT_EQ(result["train_accuracy"], nullptr);

    std::istringstream lines(read_file(file("log.jsonl")));
    size_t epochs = 0;
    for (std::string line; std::getline(lines, line); epochs++) {
        Json entry(json_loads(line.c_str(), 0, nullptr));
        EXPECT_EQ(entry.number("epoch"), epochs + 1);
        EXPECT_TRUE(entry["loss"] != nullptr);
        EXPECT_LE(entry.number("nnz"), 6);
    }
    EXPECT_EQ(epochs, 60u);
}

TEST_F(Cli, PlantedNeuronsAmongDrawnOnes)
{
    Outcome outcome = run({"planted", "--samples", "400", "--inputs", "20", "--planted-hidden", "2",
                           "--hidden", "3", "--nnz", "4", "--convex", "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("hidden"), 3);
    EXPECT_GE(result.number("support_recall"), 0);
    EXPECT_LE(result.number("support_recall"), 1);
    EXPECT_GE(result.number("weight_rel_error"), 0);
}

TEST_F(Cli, PlantedReportsRecoveryAndTheOracle)
{
    Words words = {"planted",  "--samples", "500",           "--inputs", "20",
                   "--hidden", "3",         "--nnz",         "6",        "--noise",
                   "0.1",      "--json",    "--inputs-draw", "sparse"};
    Outcome outcome = run(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.text("inputs_draw"), "sparse");
    EXPECT_EQ(result.number("noise"), 0.1);
    for (const char *key : {"support_recall", "support_precision"}) {
        EXPECT_GE(result.number(key), 0);
        EXPECT_LE(result.number(key), 1);
    }
    EXPECT_TRUE(json_is_boolean(result["identifiable"]));
    EXPECT_GT(result.number("oracle_weight_rel_error"), 0);
    EXPECT_LE(result.number("oracle_weight_rel_error"), result.number("weight_rel_error") + 0.01);
    EXPECT_GT(result.number("oracle_psnr_db"), 0);
    EXPECT_EQ(result.number("planted_neurons"),
              3 - result.number("merged_neurons") - result.number("inactive_neurons"));
}

TEST_F(Cli, NothingIsRecoveredOfWhatIsNeverActive)
{
    Words planted = {"planted", "--samples", "100", "--inputs-draw", "sparse", "--density",
                     "1e-6",    "--hidden",  "3",   "--nnz",         "10",     "--noise",
                     "0.1"};
    Outcome outcome = run(planted);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("the planted network is active on no sample"), std::string::npos)
        << outcome.out;
    planted.push_back("--json");
    outcome = run(planted);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    for (const char *key : {"support_recall", "support_precision", "weight_rel_error"})
        EXPECT_TRUE(json_is_null(result[key])) << key;
}

TEST_F(Cli, PlantedOfSeveralOutputsReportsRecovery)
{
    Outcome outcome = run({"planted", "--solver", "recover", "--outputs", "3", "--samples", "500",
                           "--inputs", "8", "--hidden", "3", "--nnz", "12", "--epochs", "20",
                           "--seed", "2", "--json", "--quiet"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("support_recall"), 1);
    EXPECT_EQ(result.number("support_precision"), 1);
    EXPECT_LT(result.number("weight_rel_error"), 1e-5);
    EXPECT_EQ(result.number("matched_neurons"), 3);
    EXPECT_EQ(result["identifiable"], nullptr);
}

TEST_F(Cli, PlantedOnInputsOfAFile)
{
    write_regression(120, 5);
    Words words = {"planted", "--inputs-from", file("x.npy"), "--hidden",
                   "2",       "--nnz",         "3",           "--json"};
    Outcome outcome = run(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("samples"), 120);
    EXPECT_EQ(result.number("inputs"), 5);
    EXPECT_EQ(result.text("inputs_draw"), "file");
    words = {"planted", "--inputs-from", file("none.npy")};
    outcome = run(words);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("none.npy"), std::string::npos);
    words = {"planted", "--inputs-from", file("x.npy"), "--model", file("x.npy")};
    EXPECT_EQ(run(words).status, 2);
}

TEST_F(Cli, TrainEvaluatePredictInfo)
{
    write_regression(200, 5);
    Words data = {"--x", file("x.npy"), "--y", file("y.npy")};
    Words train = {"train",       "--hidden",    "8",
                   "--nnz",       "10",          "--epochs",
                   "20",          "--model",     file("m.safetensors"),
                   "--x-test",    file("x.npy"), "--y-test",
                   file("y.npy"), "--json"};
    train.insert(train.end(), data.begin(), data.end());
    Outcome trained = run(train);
    ASSERT_EQ(trained.status, 0) << trained.err;
    Json result = last_line(trained);
    EXPECT_EQ(result.text("command"), "train");
    EXPECT_EQ(result.number("samples"), 200);
    EXPECT_LE(result.number("nnz_used"), 10);
    EXPECT_EQ(result["test_accuracy"], nullptr);

    Words eval = {"eval", "--model", file("m.safetensors"), "--json"};
    eval.insert(eval.end(), data.begin(), data.end());
    Outcome evaluated = run(eval);
    ASSERT_EQ(evaluated.status, 0) << evaluated.err;
    EXPECT_NEAR(last_line(evaluated).number("psnr_db"), result.number("psnr_db"), 1e-6);

    Outcome predicted = run({"predict", "--model", file("m.safetensors"), "--x", file("x.npy"),
                             "--out", file("p.npy")});
    ASSERT_EQ(predicted.status, 0) << predicted.err;
    std::string array = read_file(file("p.npy"));
    ASSERT_EQ(array.size(), 128 + 4 * 200u);
    EXPECT_NE(array.find("'shape': (200, 1)"), std::string::npos);
    Outcome printed = run({"predict", "--model", file("m.safetensors"), "--x", file("x.npy")});
    std::istringstream lines(printed.out);
    size_t row = 0;
    for (std::string line; std::getline(lines, line); row++) {
        float value;
        std::memcpy(&value, array.data() + 128 + 4 * row, 4);
        EXPECT_FLOAT_EQ(std::stof(line), value);
    }
    EXPECT_EQ(row, 200u);

    Outcome info = run({"info", "--model", file("m.safetensors"), "--json"});
    ASSERT_EQ(info.status, 0) << info.err;
    Json shown = last_line(info);
    EXPECT_EQ(shown.number("nnz_used"), result.number("nnz_used"));
    EXPECT_EQ(shown.number("hidden"), 8);
    EXPECT_TRUE(json_is_object(shown["metadata"]));
}

TEST_F(Cli, EvaluatesOnTheDataTheModelNames)
{
    // Two classes of 2x3 images in the format of MNIST; class 1 is bright.
    std::filesystem::create_directory(file("mnist"));
    for (const std::string part : {"train", "t10k"}) {
        std::string images("\0\0\x08\x03\0\0\0\x14\0\0\0\x02\0\0\0\x03", 16);
        std::string labels("\0\0\x08\x01\0\0\0\x14", 8);
        for (int i = 0; i < 20; i++) {
            images += std::string(6, (char)(i % 2 ? 100 + i : i));
            labels += (char)(i % 2);
        }
        std::ofstream(file("mnist/" + part + "-images-idx3-ubyte"), std::ios::binary) << images;
        std::ofstream(file("mnist/" + part + "-labels-idx1-ubyte"), std::ios::binary) << labels;
    }
    auto here = [&] { setenv("RELIHT_DATA", folder.path.c_str(), 1); };
    Outcome trained = run({"train", "--data", "mnist", "--classes", "0,1", "--hidden", "4", "--nnz",
                           "6", "--epochs", "5", "--model", file("m.safetensors"), "--json"},
                          here);
    ASSERT_EQ(trained.status, 0) << trained.err;
    Outcome evaluated = run({"eval", "--model", file("m.safetensors"), "--json"}, here);
    ASSERT_EQ(evaluated.status, 0) << evaluated.err;
    Json result = last_line(evaluated);
    EXPECT_EQ(result.number("samples"), 20);
    EXPECT_EQ(result.number("test_accuracy"), last_line(trained).number("test_accuracy"));

    write_regression(50, 5);
    ASSERT_EQ(run({"train", "--x", file("x.npy"), "--y", file("y.npy"), "--hidden", "4", "--nnz",
                   "6", "--model", file("arrays.safetensors")})
                  .status,
              0);
    Outcome unnamed = run({"eval", "--model", file("arrays.safetensors")});
    EXPECT_EQ(unnamed.status, 2);
    EXPECT_NE(unnamed.err.find("doesn't name the data"), std::string::npos) << unnamed.err;
}

TEST_F(Cli, TrainsOnImagesAndDrawsThem)
{
    write_images(60);
    Outcome outcome =
        run({"train", "--x", file("images.npy"), "--y", file("labels.npy"), "--hidden", "12",
             "--nnz", "60", "--epochs", "30", "--picture", file("p.png"), "--json", "--quiet"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("outputs"), 3);
    EXPECT_GT(result.number("train_accuracy"), 0.5);
    EXPECT_LE(result.number("train_accuracy"), 1);
    EXPECT_EQ(result["psnr_db"], nullptr);
    EXPECT_EQ(read_file(file("p.png")).substr(0, 8), "\x89PNG\r\n\x1a\n");
}

TEST_F(Cli, TestLabelsMayLackTheHighestClasses)
{
    write_images(60);
    std::vector<int64_t> two(60);
    for (size_t i = 0; i < two.size(); i++)
        two[i] = (int64_t)(i % 2);
    npy("two.npy", "<i8", "60,", two);
    npy("four.npy", "<i8", "60,", std::vector<int64_t>(60, 3));
    Words train = {"train",
                   "--x",
                   file("images.npy"),
                   "--y",
                   file("labels.npy"),
                   "--hidden",
                   "12",
                   "--nnz",
                   "60",
                   "--epochs",
                   "30",
                   "--json",
                   "--x-test",
                   file("images.npy")};
    Words lacking = train, many = train;
    lacking.insert(lacking.end(), {"--y-test", file("two.npy"), "--model", file("m")});
    Outcome outcome = run(lacking);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    double accuracy = last_line(outcome).number("test_accuracy");
    outcome = run({"eval", "--model", file("m"), "--x", file("images.npy"), "--y", file("two.npy"),
                   "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(last_line(outcome).number("test_accuracy"), accuracy);

    npy("none.npy", "<i8", "60,", std::vector<int64_t>(60));
    outcome = run({"eval", "--model", file("m"), "--x", file("images.npy"), "--y", file("none.npy"),
                   "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    double zeros = last_line(outcome).number("test_accuracy");
    EXPECT_LT(std::abs(zeros - 0.5), 0.5); // a part of the images is taken for class 0

    many.insert(many.end(), {"--y-test", file("four.npy"), "--log", file("log")});
    outcome = run(many);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("gives 3 outputs, the test data have targets for 4"),
              std::string::npos)
        << outcome.err;
    EXPECT_EQ(read_file(file("log")), ""); // refused before the training
}

TEST_F(Cli, OnlyTrainingNeedsTwoClasses)
{
    write_images(60);
    std::vector<int32_t> labels(60);
    for (size_t i = 0; i < labels.size(); i++)
        labels[i] = (int32_t)(i % 2);
    npy("two.npy", "<i4", "60,", labels);
    for (int32_t label : {0, 1}) {
        std::string one = npy("one.npy", "<i4", "60,", std::vector<int32_t>(60, label));
        Words train = {"train", "--x", file("images.npy"), "--nnz", "9", "--epochs", "2", "--y"};
        Words refused = train, taken = train;
        refused.push_back(one);
        Outcome outcome = run(refused);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("one.npy: all labels are " + std::to_string(label) +
                                   "; at least two classes are needed"),
                  std::string::npos)
            << outcome.err;
        taken.insert(taken.end(), {file("two.npy"), "--x-test", file("images.npy"), "--y-test", one,
                                   "--model", file("m"), "--json"});
        outcome = run(taken);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        double accuracy = last_line(outcome).number("test_accuracy");
        outcome =
            run({"eval", "--model", file("m"), "--x", file("images.npy"), "--y", one, "--json"});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(last_line(outcome).number("test_accuracy"), accuracy);
    }
}

TEST_F(Cli, NumbersTooLargeForClassesAreNoLabels)
{
    write_images(60);
    std::vector<int32_t> labels(60);
    labels[7] = 2000000000;
    npy("labels.npy", "<i4", "60,", labels);
    Outcome outcome = run({"train", "--x", file("images.npy"), "--y", file("labels.npy")});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("row 7 (from 0): label 2000000000"), std::string::npos)
        << outcome.err;
}

TEST_F(Cli, NoPictureOfWhatIsNoImage)
{
    write_regression(30, 5);
    Outcome outcome =
        run({"train", "--x", file("x.npy"), "--y", file("y.npy"), "--picture", file("p.png")});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("--picture: 5 inputs"), std::string::npos) << outcome.err;
}

TEST_F(Cli, InrWritesTheImageAndItsModelDrawsItAgain)
{
    support::Context context;
    std::vector<float> pixels(8 * 6);
    for (size_t i = 0; i < pixels.size(); i++)
        pixels[i] = (float)(i % 8) / 8.0f;
    ASSERT_EQ(reliht_image_write(context, file("in.png").c_str(), 8, 6, 1, pixels.data()),
              RELIHT_OK);
    Outcome outcome = run({"inr", "--image", file("in.png"), "--features", "40", "--hidden", "4",
                           "--nnz", "60", "--epochs", "20", "--out", file("out.png"), "--model",
                           file("m.safetensors"), "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("samples"), 48);
    EXPECT_EQ(result.number("inputs"), 40);
    double psnr = result.number("psnr_db");
    Outcome again = run({"predict", "--model", file("m.safetensors"), "--image", file("in.png"),
                         "--out", file("again.png")});
    ASSERT_EQ(again.status, 0) << again.err;
    EXPECT_EQ(read_file(file("again.png")), read_file(file("out.png")));
    Outcome eval =
        run({"eval", "--model", file("m.safetensors"), "--image", file("in.png"), "--json"});
    ASSERT_EQ(eval.status, 0) << eval.err;
    EXPECT_NEAR(last_line(eval).number("psnr_db"), psnr, 1e-6);
}

TEST_F(Cli, ColourImagesAreFittedByDefault)
{
    support::Context context;
    std::vector<float> pixels;
    for (size_t i = 0; i < 32u * 32; i++)
        for (size_t channel = 0; channel < 3; channel++) {
            double angle = (double)(i % 32 * (channel + 1) + i / 32 * 2) / 6;
            pixels.push_back((float)(0.5 + 0.5 * std::sin(angle)));
        }
    ASSERT_EQ(reliht_image_write(context, file("in.png").c_str(), 32, 32, 3, pixels.data()),
              RELIHT_OK);
    Outcome outcome = run({"inr", "--image", file("in.png"), "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_GT(last_line(outcome).number("psnr_db"), 30);
}

TEST_F(Cli, SenseRecovers)
{
    Outcome outcome =
        run({"sense", "--length", "200", "--nnz", "4", "--measurements", "80", "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("support_recall"), 1);
    EXPECT_LT(result.number("weight_rel_error"), 1e-4);
    EXPECT_EQ(result.number("nnz_used"), 4);
}

TEST_F(Cli, BenchSweepEndsWithItsResults)
{
    Outcome outcome = run({"bench", "sweep", "--samples", "500", "--inputs", "20", "--hidden", "30",
                           "--repeats", "2", "--nnz", "50", "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    ASSERT_EQ(json_array_size(result["results"]), 2u); // sparse and gaussian
    json_t *first = json_array_get(result["results"], 0);
    EXPECT_STREQ(json_string_value(json_object_get(first, "generator")), "sparse");
    EXPECT_EQ(json_integer_value(json_object_get(first, "samples")), 500);
    for (const char *key : {"seconds_sweep", "seconds_sgemm", "ratio"})
        EXPECT_GT(json_number_value(json_object_get(first, key)), 0) << key;
}

TEST_F(Cli, InfoTellsTheBackend)
{
    Outcome outcome = run({"info", "--backend"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("cpu"), std::string::npos);
    EXPECT_EQ(run({"info", "--backend", "cpu"}).status, 0);
    Outcome json = run({"info", "--backend=cpu", "--json"});
    EXPECT_EQ(last_line(json).text("version"), reliht_version());
}

TEST_F(Cli, ResultsDoNotDependOnThreads)
{
    Words words = {"planted", "--samples", "300", "--inputs", "15", "--json", "--model"};
    Words one = words, two = words;
    one.insert(one.end(), {file("one.safetensors"), "--threads", "1"});
    two.insert(two.end(), {file("two.safetensors"), "--threads", "2"});
    ASSERT_EQ(run(one).status, 0);
    ASSERT_EQ(run(two).status, 0);
    EXPECT_EQ(read_file(file("one.safetensors")), read_file(file("two.safetensors")));
}

TEST_F(Cli, HumanResultIsAlignedAndQuietMeansSilence)
{
    Outcome outcome =
        run({"sense", "--length", "100", "--nnz", "2", "--measurements", "40", "--quiet"});
    ASSERT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.err, "");
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) {
        ASSERT_GT(line.size(), 16u) << line;
        EXPECT_EQ(line[15], ' ') << line;
        EXPECT_NE(line[16], ' ') << line;
    }
}

// ---------------------------------------------------------------- what goes wrong at run time

TEST_F(Cli, BadFilesEndWith1AndAreNamed)
{
    std::ofstream(file("broken.npy")) << "no array";
    std::ofstream(file("broken.safetensors")) << "no model";
    std::ofstream(file("broken.png")) << "no image";
    write_regression(10, 3);
    const std::vector<std::pair<Words, std::string>> cases = {
        {{"train", "--x", file("none.npy"), "--y", file("y.npy")}, "none.npy"},
        {{"train", "--x", file("broken.npy"), "--y", file("y.npy")}, "broken.npy"},
        {{"train", "--x", file("x.npy"), "--y", file("y.npy"), "--generators", file("broken.npy")},
         "broken.npy"},
        {{"train", "--data", "mnist", "--data-dir", file("nowhere")}, "nowhere"},
        {{"inr", "--image", file("broken.png")}, "broken.png"},
        {{"eval", "--model", file("broken.safetensors"), "--x", file("x.npy"), "--y",
          file("y.npy")},
         "broken.safetensors"},
        {{"predict", "--model", file("none.safetensors"), "--x", file("x.npy")},
         "none.safetensors"},
        {{"info", "--model", file("broken.safetensors")}, "broken.safetensors"},
        {{"info", "--backend", "cuda"}, "cuda"},
    };
    for (const auto &[words, name] : cases) {
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 1) << outcome.err;
        EXPECT_EQ(outcome.err.rfind("reliht: ", 0), 0u) << outcome.err;
        EXPECT_NE(outcome.err.find(name), std::string::npos) << outcome.err;
    }
}

// A model file is anybody's: its texts are shown, not obeyed.
TEST_F(Cli, ControlCharactersOfAModelAreNotPrinted)
{
    std::string path = file("m.safetensors");
    ASSERT_EQ(run({"planted", "--samples", "50", "--nnz", "4", "--model", path}).status, 0);
    std::string model = read_file(path);
    auto forge = [&](const std::string &metadata) {
        uint64_t bytes;
        std::memcpy(&bytes, model.data(), 8);
        std::string header = model.substr(8, bytes), mark = "\"__metadata__\":{";
        size_t place = header.find(mark);
        ASSERT_NE(place, std::string::npos);
        header.insert(place + mark.size(), metadata);
        header.resize((header.size() + 7) / 8 * 8, ' ');
        bytes = header.size();
        std::string forged((const char *)&bytes, 8);
        uint64_t old;
        std::memcpy(&old, model.data(), 8);
        std::ofstream(path, std::ios::binary) << forged << header << model.substr(8 + old);
    };
    forge(R"("a\u001b[2J":"b\u001b[31m\nnonzeros        0\u009b\u007fö",)");
    Outcome outcome = run({"info", "--model", path});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out.find(R"(a\x1b[2J        b\x1b[31m\x0anonzeros        0\x9b\x7fö)"),
              std::string::npos)
        << outcome.out;
    EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos);

    forge(R"("a\u001b[2J\n\u009b":1,)");
    outcome = run({"info", "--model", path});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("a?[2J???: must be a string"), std::string::npos) << outcome.err;
}

TEST_F(Cli, ModelForOtherInputsIsRefused)
{
    write_regression(60, 5);
    ASSERT_EQ(run({"planted", "--samples", "50", "--inputs", "7", "--nnz", "4", "--model",
                   file("m.safetensors")})
                  .status,
              0);
    Outcome outcome =
        run({"eval", "--model", file("m.safetensors"), "--x", file("x.npy"), "--y", file("y.npy")});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("takes 7 inputs, the data have 5"), std::string::npos)
        << outcome.err;
}

TEST_F(Cli, OutputsAreCheckedBeforeTheWork)
{
    // So many samples that the run would not end before the test's time limit.
    Words planted = {"planted", "--samples", "1000000", "--epochs", "100000"};
    for (const char *option : {"--model", "--log"}) {
        for (const std::string &path :
             {folder.path.string(), file("none/there"), std::string("/dev/null")}) {
            Words words = planted;
            words.insert(words.end(), {option, path});
            Outcome outcome = run(words);
            EXPECT_EQ(outcome.status, 1) << option << " " << path;
            EXPECT_NE(outcome.err.find(path), std::string::npos) << outcome.err;
        }
    }
    std::filesystem::create_directory_symlink(".", file("here"));
    for (const char *other : {"a", "./a", "here/a"}) { // none of them is there
        Words same = planted;
        same.insert(same.end(), {"--model", file("a"), "--log", file(other)});
        EXPECT_EQ(run(same).status, 2) << other;
    }
    EXPECT_FALSE(std::filesystem::exists(file("a")));
}

TEST_F(Cli, WhatARunReadsIsNotOverwritten)
{
    write_regression(60, 5);
    std::string x = read_file(file("x.npy"));
    std::filesystem::create_hard_link(file("x.npy"), file("link"));
    for (const char *option : {"--log", "--model"}) {
        Outcome outcome =
            run({"train", "--x", file("x.npy"), "--y", file("y.npy"), option, file("link")});
        EXPECT_EQ(outcome.status, 2);
        EXPECT_NE(outcome.err.find("is read by this run"), std::string::npos) << outcome.err;
    }
    EXPECT_EQ(read_file(file("x.npy")), x);
}

TEST_F(Cli, RefusedOptionsLeaveAnOldLog)
{
    std::ofstream(file("log")) << "old";
    Words words = {"planted", "--samples", "60", "--inputs", "10", "--log", file("log"), "--nnz"};
    Words refused = words, taken = words;
    refused.push_back("10");
    refused.insert(refused.end(), {"--validation", "0.001"});
    EXPECT_EQ(run(refused).status, 2);
    EXPECT_EQ(read_file(file("log")), "old");
    std::filesystem::remove(file("log"));
    EXPECT_EQ(run(refused).status, 2);
    EXPECT_FALSE(std::filesystem::exists(file("log")));
    taken.push_back("10");
    EXPECT_EQ(run(taken).status, 0);
    EXPECT_EQ(read_file(file("log")).front(), '{');
}

TEST_F(Cli, UnwritableStandardOutputIsAFailure)
{
    Words words = {"sense", "--length", "100", "--nnz", "2", "--measurements", "40", "--json"};
    auto full = [] {
        int device = open("/dev/full", O_WRONLY);
        dup2(device, STDOUT_FILENO);
    };
    auto closed = [] { close(STDOUT_FILENO); };
    for (const std::function<void()> &prepare :
         {std::function<void()>(full), std::function<void()>(closed)}) {
        Outcome outcome = run(words, prepare);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("reliht: "), std::string::npos) << outcome.err;
    }
}

TEST_F(Cli, ClosedStandardOutputNeverEndsUpInTheModel)
{
    Words words = {"planted", "--samples",           "60",    "--inputs",       "10", "--nnz", "4",
                   "--model", file("m.safetensors"), "--log", file("log.jsonl")};
    EXPECT_EQ(run(words, [] { close(STDOUT_FILENO); }).status, 1);
    EXPECT_EQ(run({"info", "--model", file("m.safetensors")}).status, 0);
    EXPECT_EQ(read_file(file("log.jsonl")).front(), '{');
}

TEST_F(Cli, LogThatDoesNotFitSaysWhy)
{
    Outcome outcome = run({"planted", "--samples", "60", "--inputs", "10", "--hidden", "4", "--nnz",
                           "9", "--epochs", "12000", "--threads", "1", "--log", file("log")},
                          [] {
                              struct rlimit limit = {1 << 20, 1 << 20};
                              setrlimit(RLIMIT_FSIZE, &limit);
                          });
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find(strerror(EFBIG)), std::string::npos) << outcome.err;
}

TEST_F(Cli, FullDiskKeepsTheOldModel)
{
    std::ofstream(file("m.safetensors")) << "old";
    Outcome outcome = run({"planted", "--samples", "60", "--inputs", "2000", "--hidden", "100",
                           "--nnz", "100000", "--epochs", "2", "--model", file("m.safetensors")},
                          [] {
                              struct rlimit limit = {1 << 20, 1 << 20};
                              setrlimit(RLIMIT_FSIZE, &limit);
                          });
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("m.safetensors"), std::string::npos) << outcome.err;
    EXPECT_EQ(read_file(file("m.safetensors")), "old");
}

// ---------------------------------------------------------------- signals and the terminal

class CliSignal : public Cli, public ::testing::WithParamInterface<int>
{
};

INSTANTIATE_TEST_SUITE_P(Both, CliSignal, ::testing::Values(SIGINT, SIGTERM),
                         [](const auto &test) { return test.param == SIGINT ? "Int" : "Term"; });

TEST_P(CliSignal, EndsTheRunAndLeavesTheBestModel)
{
    pid_t child = start({"planted", "--samples", "2000", "--inputs", "30", "--epochs", "10000000",
                         "--model", file("m.safetensors"), "--log", file("log.jsonl"), "--json"});
    for (int i = 0; i < 3000 && read_file(file("log.jsonl")).empty(); i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, GetParam());
    Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 128 + GetParam()) << outcome.err;
    EXPECT_GT(last_line(outcome).number("epochs"), 0);
    EXPECT_EQ(run({"info", "--model", file("m.safetensors")}).status, 0);
}

TEST_F(Cli, AnIgnoredSignalStaysIgnored)
{
    pid_t child = start({"planted", "--samples", "2000", "--inputs", "30", "--epochs", "10000000",
                         "--log", file("log.jsonl"), "--json"},
                        [] { signal(SIGINT, SIG_IGN); });
    auto wait_for_epochs = [&](size_t more) {
        size_t size = read_file(file("log.jsonl")).size();
        for (int i = 0; i < 3000 && read_file(file("log.jsonl")).size() < size + more; i++)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        EXPECT_GE(read_file(file("log.jsonl")).size(), size + more);
    };
    wait_for_epochs(1);
    for (int i = 0; i < 2; i++) { // a second one would kill
        kill(child, SIGINT);
        wait_for_epochs(20000);
    }
    kill(child, SIGTERM);
    EXPECT_EQ(finish(child).status, 128 + SIGTERM);
}

TEST_F(Cli, BarOnATerminalIsWipedAtTheEnd)
{
    int terminal, other;
    ASSERT_EQ(openpty(&terminal, &other, nullptr, nullptr, nullptr), 0);
    pid_t child = start({"planted", "--samples", "500", "--inputs", "20", "--epochs", "20"},
                        [other] { dup2(other, STDERR_FILENO); });
    close(other);
    std::string shown;
    char buffer[4096];
    for (ssize_t count; (count = read(terminal, buffer, sizeof buffer)) > 0;)
        shown.append(buffer, (size_t)count);
    close(terminal);
    EXPECT_EQ(finish(child).status, 0);
    EXPECT_NE(shown.find("epoch 20/20"), std::string::npos) << shown;
    EXPECT_NE(shown.find("left"), std::string::npos);
    ASSERT_GE(shown.size(), 4u);
    EXPECT_EQ(shown.substr(shown.size() - 4), "\r\x1b[K");
}
