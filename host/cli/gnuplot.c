/* gnuplot as a child process: the script on its standard input, what it draws or prints into a file
 * of the caller. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child. */
static void become_gnuplot(int folder, int script, int printed, int said)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(script, STDIN_FILENO) < 0 || dup2(printed < 0 ? said : printed, STDOUT_FILENO) < 0 ||
        dup2(said, STDERR_FILENO) < 0 || (folder != AT_FDCWD && fchdir(folder)))
        _exit(EXIT_FAILED);
    execlp("gnuplot", "gnuplot", "-d", "-", (char *)NULL);
    _exit(errno == ENOENT ? 127 : 126);
}

static bool write_all(int file, const char *bytes, size_t count)
{
    while (count) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno != EINTR)
            return false;
        bytes += written > 0 ? written : 0;
        count -= written > 0 ? (size_t)written : 0;
    }
    return lseek(file, 0, SEEK_SET) == 0;
}

/* The first line that is not empty, as far as it fits. */
static void first_line(int file, char *text, size_t bytes)
{
    ssize_t length = pread(file, text, bytes - 1, 0);
    text[length > 0 ? length : 0] = 0;
    size_t skipped = strspn(text, " \n");
    memmove(text, text + skipped, strlen(text + skipped) + 1);
    text[strcspn(text, "\n")] = 0;
}

int gnuplot_run(int folder, const char *script, size_t length, int printed, char *message,
                size_t bytes)
{
    int status = 0, result = EXIT_FAILED;
    int input = memfd_create("gnuplot script", MFD_CLOEXEC);
    int said = memfd_create("gnuplot messages", MFD_CLOEXEC);
    pid_t child = input < 0 || said < 0 || !write_all(input, script, length) ? -1 : fork();
    if (child == 0)
        become_gnuplot(folder, input, printed, said);
    if (child < 0) {
        snprintf(message, bytes, "%s", strerror(errno));
        goto done;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    result = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    first_line(said, message, bytes);
done:
    if (input >= 0)
        close(input);
    if (said >= 0)
        close(said);
    return result;
}
