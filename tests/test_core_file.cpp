#include "support.h"

extern "C" {
#include "core/file.h"
}

#include <csignal>
#include <fstream>
#include <iterator>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using support::Context;
using support::TemporaryDirectory;

static std::string contents(const std::string &path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

static void put(const std::string &path, const std::string &text)
{
    std::ofstream(path, std::ios::binary) << text;
}

static size_t entries(const TemporaryDirectory &folder)
{
    return (size_t)std::distance(std::filesystem::directory_iterator(folder.path), {});
}

static reliht_status write_all(reliht_context *context, const std::string &path,
                               const std::string &text)
{
    file_writer writer;
    reliht_status status = file_open_write(context, path.c_str(), &writer);
    if (!status) {
        status = file_write(&writer, text.data(), text.size() / 2);
        if (!status)
            status =
                file_write(&writer, text.data() + text.size() / 2, text.size() - text.size() / 2);
        if (status)
            file_abandon(&writer);
        else
            status = file_commit(&writer);
    }
    return status;
}

TEST(File, WritesNewFilesAndReplacesOldOnes)
{
    Context context;
    TemporaryDirectory folder;
    const std::string path = folder.file("model");
    for (size_t size : {0u, 1u, 70000u, 300000u, 10u}) {
        const std::string text(size, (char)('a' + size % 20));
        ASSERT_EQ(write_all(context, path, text), RELIHT_OK) << context.message();
        EXPECT_EQ(contents(path), text);
        EXPECT_EQ(entries(folder), 1u);
    }
}

TEST(File, NothingChangesBeforeCommitAndAbandonLeavesNoTrace)
{
    Context context;
    TemporaryDirectory folder;
    const std::string path = folder.file("model");
    put(path, "old");
    file_writer writer;
    ASSERT_EQ(file_open_write(context, path.c_str(), &writer), RELIHT_OK);
    const std::string text(200000, 'x');
    ASSERT_EQ(file_write(&writer, text.data(), text.size()), RELIHT_OK);
    EXPECT_EQ(contents(path), "old");
    EXPECT_EQ(entries(folder), 2u);
    file_abandon(&writer);
    file_abandon(&writer);
    EXPECT_EQ(contents(path), "old");
    EXPECT_EQ(entries(folder), 1u);
}

TEST(File, KeepsPermissionsOfWhatItReplaces)
{
    Context context;
    TemporaryDirectory folder;
    const std::string path = folder.file("model");
    put(path, "old");
    ASSERT_EQ(chmod(path.c_str(), 0640), 0);
    ASSERT_EQ(write_all(context, path, "new"), RELIHT_OK);
    struct stat state;
    ASSERT_EQ(stat(path.c_str(), &state), 0);
    EXPECT_EQ(state.st_mode & 0777, 0640u);
}

TEST(File, FollowsLinksAndKeepsThem)
{
    Context context;
    TemporaryDirectory folder;
    put(folder.file("real"), "old");
    ASSERT_EQ(symlink("real", folder.file("link").c_str()), 0);
    ASSERT_EQ(write_all(context, folder.file("link"), "new"), RELIHT_OK) << context.message();
    EXPECT_TRUE(std::filesystem::is_symlink(folder.file("link")));
    EXPECT_EQ(contents(folder.file("real")), "new");
    ASSERT_EQ(symlink("nowhere", folder.file("dangling").c_str()), 0);
    EXPECT_EQ(write_all(context, folder.file("dangling"), "new"), RELIHT_IO);
    EXPECT_EQ(file_check_target(context, folder.file("dangling").c_str()), RELIHT_IO);
}

TEST(File, RefusesWhatIsNoRegularFile)
{
    Context context;
    TemporaryDirectory folder;
    ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
    std::filesystem::create_directory(folder.file("folder"));
    put(folder.file("plain"), "x");
    ASSERT_EQ(symlink("/dev/null", folder.file("null").c_str()), 0);
    const std::string wrong[] = {folder.file("pipe"),
                                 folder.file("folder"),
                                 folder.file("folder/"),
                                 "/dev/null",
                                 folder.file("null"),
                                 folder.file("missing/model"),
                                 "",
                                 folder.file("plain/model"),
                                 folder.file("new/"),
                                 std::string(5000, 'a'),
                                 std::string(300, 'a')};
    for (const std::string &path : wrong) {
        EXPECT_EQ(file_check_target(context, path.c_str()), RELIHT_IO) << path;
        EXPECT_EQ(write_all(context, path, "new"), RELIHT_IO) << path;
        EXPECT_NE(context.message(), "");
    }
    EXPECT_EQ(entries(folder), 4u);
    EXPECT_EQ(file_check_target(context, folder.file("plain").c_str()), RELIHT_OK);
    EXPECT_EQ(file_check_target(context, folder.file("new").c_str()), RELIHT_OK);
    EXPECT_EQ(entries(folder), 4u);
}

// A limit on the size of files stands in for a full disk: write() fails half way.
TEST(File, AFullDiskIsReportedAndTheOldFileStays)
{
    Context context;
    TemporaryDirectory folder;
    const std::string path = folder.file("model");
    put(path, "old");
    struct rlimit before, small;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    auto handler = signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    reliht_status large = write_all(context, path, std::string(400000, 'x'));
    std::string message = context.message();
    small.rlim_cur = 10; // so that only the flush of the buffer at the end fails
    setrlimit(RLIMIT_FSIZE, &small);
    reliht_status little = write_all(context, path, std::string(1000, 'x'));
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    EXPECT_EQ(large, RELIHT_IO);
    EXPECT_EQ(little, RELIHT_IO);
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_EQ(contents(path), "old");
    EXPECT_EQ(entries(folder), 1u);
}

TEST(File, SkipsTemporaryNamesThatAreTaken)
{
    Context context;
    TemporaryDirectory folder;
    const std::string taken = folder.file(".reliht-" + std::to_string(getpid()) + "-0.tmp");
    put(taken, "somebody else's");
    ASSERT_EQ(write_all(context, folder.file("model"), "new"), RELIHT_OK);
    EXPECT_EQ(contents(taken), "somebody else's");
    EXPECT_EQ(contents(folder.file("model")), "new");
}

TEST(File, ReadsInOrderAndNamesWhereAFileEnds)
{
    Context context;
    TemporaryDirectory folder;
    const std::string path = folder.file("data");
    put(path, "0123456789");
    file_reader reader;
    char bytes[16];
    ASSERT_EQ(file_open_read(context, path.c_str(), &reader), RELIHT_OK);
    EXPECT_EQ(reader.size, 10u);
    ASSERT_EQ(file_read(&reader, bytes, 4), RELIHT_OK);
    EXPECT_EQ(std::string(bytes, 4), "0123");
    EXPECT_EQ(reader.offset, 4u);
    EXPECT_EQ(file_remaining(&reader), 6u);
    EXPECT_EQ(file_read(&reader, bytes, 7), RELIHT_FORMAT);
    EXPECT_NE(context.message().find(path + ": byte 10:"), std::string::npos) << context.message();
    EXPECT_EQ(file_malformed(&reader, 3, "bad %d", 7), RELIHT_FORMAT);
    EXPECT_EQ(context.message(), path + ": byte 3: bad 7");
    file_close_read(&reader);
    file_close_read(&reader);
}

TEST(File, OpensNothingButRegularFiles)
{
    Context context;
    TemporaryDirectory folder;
    ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
    file_reader reader;
    for (const std::string &path :
         {folder.path.string(), folder.file("pipe"), folder.file("missing"),
          std::string("/dev/null"), std::string("/dev/zero")}) {
        EXPECT_EQ(file_open_read(context, path.c_str(), &reader), RELIHT_IO) << path;
        EXPECT_NE(context.message().find(path), std::string::npos);
        /* Nothing is left to close: not the file that has the number by now. */
        int other = dup(STDIN_FILENO);
        file_close_read(&reader);
        EXPECT_EQ(close(other), 0) << path;
    }
}

TEST(File, SurvivesFailedAllocation)
{
    TemporaryDirectory folder;
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  return write_all(context, folder.file("model"), "new");
              }),
              1u);
    EXPECT_EQ(entries(folder), 1u);
}
