// links: front
/* Words with every ${…} form: expanding ends, within its bounds. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/shellword.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *get(void *ctx, const char *name)
{
	(void)ctx;
	return *name == 'a' ? "/usr/local:/usr/bin" : *name == 'b' ? "" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct bld_shell s = {.get = get};
	sw_autofree char *text = NULL, *word = NULL;
	struct sw_error err;
	char **words = NULL;

	if (n == 0)
		return 0;
	s.escape = p[0] & 1 ? '`' : '\\';
	s.raw_quotes = p[0] & 2;
	s.raw_escapes = p[0] & 4;
	s.skip_unset = p[0] & 8;
	s.no_quotes = p[0] & 16;
	text = sw_strndup((const char *)p + 1, n - 1);
	if (bld_shell_word(&s, text, &word, &err) == 0)
		SW_ASSERT(strlen(word) <= BLD_WORD_MAX);
	if (bld_shell_words(&s, text, &words, &err) == 0)
		sw_strv_free(words);
	return 0;
}
