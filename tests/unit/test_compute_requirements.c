/* Lists of requirements: which have hashes, what lacks one, and what pip's words are made of. */
#include "compute/compute.h"
#include "compute/requirements.h"
#include "testing.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* must_have or not: whether it is hashed; wanted NULL: it is good. */
static void expect_list(const char *text, bool must_have, bool hashed, const char *wanted)
{
    bool is_hashed = !hashed;
    myr_err err = {0};
    myr_rc rc = myr_requirements_check("requirements.txt", myr_str_of(text), must_have, &is_hashed, &err);
    testing_expect_rc(rc, wanted != NULL ? MYR_BAD_INPUT : MYR_OK, &err, text, __FILE__, __LINE__);
    if (wanted != NULL) {
        EXPECT_HAS(err.message, wanted);
    } else {
        EXPECT_INT(is_hashed, hashed);
    }
}

TEST(lists_with_hashes_and_without)
{
    expect_list("", false, false, NULL);
    expect_list("", true, true, NULL); /* nothing lacks one */
    expect_list("# nothing\n--no-index\n--find-links wheels\n", true, true, NULL);
    expect_list("a==1\nb>=2 ; python_version < '4'\n", false, false, NULL);
    expect_list("a==1 --hash=sha256:" HASH "\n", false, true, NULL);
    expect_list("a==1 --hash sha256:" HASH, true, true, NULL);
    expect_list("a==1\t--hash=sha256:" HASH "\r\n", true, true, NULL);
    expect_list("a==1 \\\n  --hash=sha256:" HASH " \\\n  --hash=sha256:" HASH "\nb==2 \\\n  --hash=sha256:" HASH "\n",
                true, true, NULL);
    expect_list("\xef\xbb\xbf# head\na==1 --hash=sha256:" HASH "\n", true, true, NULL);
    /* hashes of packages may stand with the constraints: pip knows */
    expect_list("-c constraints.txt\na==1 --hash=sha256:" HASH "\nb==2\n", true, true, NULL);
    /* in a comment, or no option, it is none */
    expect_list("a==1 # --hash=sha256:" HASH "\n", false, false, NULL);
    expect_list("a==1 --hashes=x\n", false, false, NULL);
    expect_list("a--hash=b\n", false, false, NULL);
}

TEST(what_lacks_a_hash_is_named)
{
    expect_list("a==1\n", true, false, "requirements.txt, line 1: a==1 has no --hash, which is asked for");
    expect_list("# x\n\na==1 \\\n  --hash=sha256:" HASH "\nb==2 ; python_version > '3'\nc==3\n", false, false,
                "requirements.txt, line 5: b==2 has no --hash, as others have");
    expect_list("b==2;x\na==1 --hash=sha256:" HASH "\n", false, false, "line 1: b==2 has");
    expect_list("-e ./local\n", true, false, "line 1: -e has no --hash");
    expect_list("# c \\\na==1\n", true, false, "line 2: a==1"); /* a comment does not go on */
    expect_list("a==1 \\\n# --hash=sha256:" HASH "\n", true, false, "line 1: a==1");
    expect_list("a==1 \\", true, false, "line 1: a==1");
    expect_list("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true, false,
                ": aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa has");
}

/* A list of another list, made without hashes before, is not taken for one with them. */
TEST(names_of_environments)
{
    static const char other[] = "-r other.txt\n", hashed[] = "a==1 --hash=sha256:" HASH "\n";
    char plain[MYR_ENVIRONMENT_HASH_CHARS + 1], forced[MYR_ENVIRONMENT_HASH_CHARS + 1];
    myr_environment_hash("/bin/true", other, sizeof other - 1, false, plain);
    myr_environment_hash("/bin/true", other, sizeof other - 1, true, forced);
    EXPECT(strcmp(plain, forced) != 0 && strlen(plain) == MYR_ENVIRONMENT_HASH_CHARS);
    myr_environment_hash("/bin/true", hashed, sizeof hashed - 1, false, plain);
    myr_environment_hash("/bin/true", hashed, sizeof hashed - 1, true, forced);
    EXPECT_STR(forced, plain);
    myr_environment_hash("/bin/false", hashed, sizeof hashed - 1, true, plain);
    EXPECT(strcmp(plain, forced) != 0);
}

TEST(each_failed_allocation_is_told)
{
    FAIL_EACH_ALLOC (nth) {
        bool is_hashed = false;
        myr_rc rc = myr_requirements_check("list", myr_str_of("a==1 --hash=sha256:" HASH "\n"), true, &is_hashed, NULL);
        EXPECT(rc == MYR_OK ? is_hashed : rc == MYR_NO_MEMORY && !is_hashed);
    }
}

TEST(words_of_pip)
{
    static const char said[] =
        "WARNING: something\n"
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated, …\n"
        "    tiny-answer==42 from file:///w/tiny_answer-42-py3-none-any.whl (from -r /t/requirements.txt (line 3)):\n"
        "        Expected sha256 " HASH "\n"
        "             Got        ffff3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\n";
    myr_err err = {0};
    EXPECT_RC(myr_requirements_explain(myr_str_of(said), &err), UNAVAILABLE, &err);
    EXPECT_STR(err.message,
               "requirements.txt, line 3: tiny-answer==42 has not the hash of the list (0123456789ab…), but "
               "ffff3456789a…: is it another build, or was it tampered with?");
    EXPECT_RC(myr_requirements_explain(myr_str_of("DO NOT MATCH THE HASHES\nx from y\n"), &err), UNAVAILABLE, &err);
    EXPECT_STR(err.message, "x has not the hash that the list has for it");
    EXPECT_RC(myr_requirements_explain(myr_str_of("DO NOT MATCH THE HASHES"), &err), UNAVAILABLE, &err);
    EXPECT_STR(err.message, "a package has not the hash that the list has for it");
    EXPECT_RC(myr_requirements_explain(myr_str_of("ERROR: no matching distribution"), &err), OK, &err);
    EXPECT_RC(myr_requirements_explain((myr_str){0}, &err), OK, &err);
}

RUN()
