// datasets/get, as far as it goes without a network.
#include "hostile.h"
#include "paths.h"

#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

using support::put;
using support::TemporaryDirectory;

static int get(const std::string &arguments, const std::string &environment = "")
{
    const std::string script = RELIHT_TEST_DATA "/../../datasets/get";
    return WEXITSTATUS(
        system((environment + " sh '" + script + "' " + arguments + " >/dev/null 2>&1").c_str()));
}

TEST(Get, RefusesWrongUsage)
{
    EXPECT_EQ(get(""), 2);
    EXPECT_EQ(get("imagenet"), 2);
    EXPECT_EQ(get("mnist a b"), 2);
}

TEST(Get, RefusesFilesWithAnotherChecksum)
{
    TemporaryDirectory folder, source;
    const std::string where = "'" + folder.path.string() + "'";
    put(source.file("train-images-idx3-ubyte.gz"), "something else");
    EXPECT_EQ(get("mnist " + where, "MNIST_URL='file://" + source.path.string() + "'"), 1);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path / "mnist"));
    put(folder.file("mnist/train-images-idx3-ubyte"), "something else");
    EXPECT_EQ(get("mnist " + where), 1);
    EXPECT_EQ(support::contents(folder.file("mnist/train-images-idx3-ubyte")), "something else");
    put(source.file("cifar-10-binary.tar.gz"), "something else");
    EXPECT_EQ(get("cifar10 " + where, "CIFAR_URL='file://" + source.path.string() + "'"), 1);
}

TEST(Get, VerifiesThePackageOfFashionMnist)
{
    if (access("/usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz", R_OK))
        GTEST_SKIP() << "dataset-fashion-mnist is not installed";
    TemporaryDirectory folder;
    EXPECT_EQ(get("fashion-mnist '" + folder.path.string() + "'"), 0);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path));
}
