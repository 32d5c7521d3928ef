#include "base/units.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>

static const struct {
	const char *name;
	double ns;
} duration_units[] = {
	{"ns", 1},   {"us", 1e3}, {"µs", 1e3}, {"μs", 1e3},
	{"ms", 1e6}, {"s", 1e9},  {"m", 6e10}, {"h", 3.6e12},
};

/* "12", "1.5", ".5": digits with at most one point. Returns what follows, NULL without a digit. */
static const char *take_decimal(const char *s, double *ret)
{
	double v = 0, scale = 1;
	const char *p = s;
	bool digit = false;

	for (; isdigit((unsigned char)*p); p++, digit = true)
		v = v * 10 + (*p - '0');
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++, digit = true)
			v += (*p - '0') * (scale /= 10);
	*ret = v;
	return digit ? p : NULL;
}

static const char *take_duration_unit(const char *p, double *ret_ns)
{
	size_t n = strcspn(p, ".0123456789");

	for (size_t i = 0; i < SW_COUNT(duration_units); i++)
		if (strlen(duration_units[i].name) == n &&
		    strncmp(p, duration_units[i].name, n) == 0) {
			*ret_ns = duration_units[i].ns;
			return p + n;
		}
	return NULL;
}

bool unit_duration(const char *s, int64_t *ret_ns)
{
	bool negative = *s == '-';
	double total = 0, value, unit;

	if (*s == '-' || *s == '+')
		s++;
	if (sw_streq(s, "0")) {
		*ret_ns = 0;
		return true;
	}
	if (*s == 0)
		return false;
	while (*s) {
		s = take_decimal(s, &value);
		if (s)
			s = take_duration_unit(s, &unit);
		if (s == NULL)
			return false;
		total += value * unit;
		if (total > 9.2e18)
			return false;
	}
	*ret_ns = (int64_t)llround(negative ? -total : total);
	return true;
}

/* "1.5", of a value in units of 10^-decimals, without trailing noughts. */
static size_t fraction_text(uint64_t v, int decimals, char *out, size_t n)
{
	uint64_t scale = 1;
	size_t len;

	for (int i = 0; i < decimals; i++)
		scale *= 10;
	len = (size_t)snprintf(out, n, "%llu.%0*llu", (unsigned long long)(v / scale), decimals,
			       (unsigned long long)(v % scale));
	if (decimals == 0)
		len -= 2;
	while (decimals > 0 && out[len - 1] == '0')
		len--;
	if (out[len - 1] == '.')
		len--;
	out[len] = 0;
	return len;
}

void unit_duration_text(int64_t ns, char out[40])
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	uint64_t s = v / 1000000000;
	size_t at = 0;
	int decimals = v < 1000 ? 0 : v < 1000000 ? 3 : v < 1000000000 ? 6 : 9;
	const char *unit = v < 1000 ? "ns" : v < 1000000 ? "µs" : v < 1000000000 ? "ms" : "s";

	if (v == 0) {
		snprintf(out, 40, "0s");
		return;
	}
	if (ns < 0)
		out[at++] = '-';
	if (s >= 3600)
		at += (size_t)snprintf(out + at, 40 - at, "%lluh", (unsigned long long)(s / 3600));
	if (s >= 60)
		at += (size_t)snprintf(out + at, 40 - at, "%llum",
				       (unsigned long long)(s / 60 % 60));
	at += fraction_text(s >= 60 ? v % 60000000000 : v, decimals, out + at, 40 - at);
	snprintf(out + at, 40 - at, "%s", unit);
}

uint64_t unit_ms(int64_t ns)
{
	if (ns <= 0)
		return 0;
	return ns < 1000000 ? 1 : (uint64_t)ns / 1000000;
}

/* Behind the number: nothing, "b", or a prefix letter with "", "b" or "ib"; in any case. */
static bool size_exponent(const char *s, unsigned *ret)
{
	static const char prefixes[] = "kmgtp";
	const char *at;

	*ret = 0;
	if (*s == 0 || strcasecmp(s, "b") == 0)
		return true;
	at = strchr(prefixes, tolower((unsigned char)*s));
	if (at == NULL)
		return false;
	*ret = (unsigned)(at - prefixes) + 1;
	return s[1] == 0 || strcasecmp(s + 1, "b") == 0 || strcasecmp(s + 1, "ib") == 0;
}

bool unit_bytes(const char *s, unsigned base, int64_t *ret)
{
	double value;
	unsigned exponent;
	bool negative = *s == '-';

	s = take_decimal(s + negative, &value);
	if (s == NULL)
		return false;
	if (*s == ' ')
		s++;
	if (!size_exponent(s, &exponent))
		return false;
	for (unsigned i = 0; i < exponent; i++)
		value *= base;
	if (value > 9.2e18 || (negative && value > 0))
		return false;
	*ret = (int64_t)value;
	return true;
}

/* Decimal digits only, exactly: a double would make 0.1 + 9 digits a matter of luck. */
bool unit_nano_cpus(const char *s, int64_t *ret)
{
	int64_t v = 0;
	int decimals = -1;
	bool negative = *s == '-', digit = false;

	if (*s == '-' || *s == '+')
		s++;
	for (; *s; s++) {
		if (*s == '.' && decimals < 0) {
			decimals = 0;
			continue;
		}
		if (!isdigit((unsigned char)*s) || v > INT64_MAX / 100)
			return false;
		digit = true;
		if (decimals >= 9 && *s != '0')
			return false;
		if (decimals < 9) {
			v = v * 10 + (*s - '0');
			decimals += decimals >= 0;
		}
	}
	for (int i = decimals < 0 ? 0 : decimals; i < 9; i++)
		if (__builtin_mul_overflow(v, 10, &v))
			return false;
	*ret = negative ? -v : v;
	return digit;
}

bool unit_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"true", "y", "yes", "on"};
	static const char *const no[] = {"false", "n", "no", "off"};

	for (size_t i = 0; i < SW_COUNT(yes); i++) {
		if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
			*ret = strcasecmp(s, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

static unsigned digits_base(const char **s)
{
	const char *p = *s;

	if (p[0] != '0' || p[1] == 0)
		return 10;
	*s = p + 2;
	if (p[1] == 'x' || p[1] == 'X')
		return 16;
	if (p[1] == 'o' || p[1] == 'O')
		return 8;
	if (p[1] == 'b' || p[1] == 'B')
		return 2;
	*s = p + 1;
	return 8;
}

bool unit_int(const char *s, int64_t *ret)
{
	char text[80];
	size_t n = 0;
	bool negative = *s == '-';
	unsigned base;
	unsigned long long v;
	char *end;
	const char *p = text;

	if (*s == '-' || *s == '+')
		s++;
	for (; *s && n + 1 < sizeof text; s++)
		if (*s != '_')
			text[n++] = *s;
	text[n] = 0;
	if (*s || !isdigit((unsigned char)text[0]))
		return false;
	base = digits_base(&p);
	if (!isxdigit((unsigned char)*p))
		return false;
	errno = 0;
	v = strtoull(p, &end, (int)base);
	if (errno || *end || v > (unsigned long long)INT64_MAX)
		return false;
	*ret = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

static bool is_float_text(const char *s)
{
	double ignored;

	if (*s == '-' || *s == '+')
		s++;
	s = take_decimal(s, &ignored);
	if (s == NULL)
		return false;
	if (*s != 'e' && *s != 'E')
		return *s == 0;
	s++;
	if (*s == '-' || *s == '+')
		s++;
	return *s && s[strspn(s, "0123456789")] == 0;
}

bool unit_float(const char *s, double *ret)
{
	int64_t whole;
	double v;

	if (is_float_text(s)) {
		v = strtod(s, NULL);
		if (!isfinite(v))
			return false;
		*ret = v;
		return true;
	}
	if (!unit_int(s, &whole))
		return false;
	*ret = (double)whole;
	return true;
}

/* The shortest text that reads back as v, in Go's %v form: plain below 1e21, e+21 above. */
static void float_text(double v, char out[64])
{
	char digits[40];
	int precision = 1;

	for (; precision < 17; precision++) {
		snprintf(digits, sizeof digits, "%.*g", precision, v);
		if (strtod(digits, NULL) == v)
			break;
	}
	if (v == 0 || (fabs(v) >= 1e-4 && fabs(v) < 1e21)) {
		int before = v == 0 ? 1 : (int)floor(log10(fabs(v))) + 1;
		int decimals = precision - before;

		snprintf(out, 64, "%.*f", decimals > 0 ? decimals : 0, v);
		return;
	}
	snprintf(out, 64, "%.*e", precision - 1, v);
}

bool unit_number_text(const char *s, char out[64])
{
	int64_t whole;
	double v;

	if (unit_int(s, &whole)) {
		snprintf(out, 64, "%lld", (long long)whole);
		return true;
	}
	if (!is_float_text(s) || !unit_float(s, &v))
		return false;
	float_text(v, out);
	return true;
}

/* What divides words, as Docker has it: of control characters these only. */
static const char word_space[] = " \t\r\n";

/* One word from *s into b; false when a quote is left open. */
static bool take_word(const char **s, struct sw_buf *b)
{
	char quote = 0;

	for (; **s; ++*s) {
		char c = **s;

		if (c == '\\' && quote != '\'' && (*s)[1]) {
			sw_buf_addc(b, *++*s);
		} else if (quote ? c == quote : (c == '"' || c == '\'')) {
			quote = quote ? 0 : c;
		} else if (!quote && strchr(word_space, c)) {
			break;
		} else {
			sw_buf_addc(b, c);
		}
	}
	return quote == 0;
}

char **unit_words(const char *s)
{
	char **words = sw_alloc(sizeof *words);

	for (;;) {
		struct sw_buf b = SW_BUF_INIT(4 << 20);
		bool closed;

		s += strspn(s, word_space);
		if (*s == '#') {
			s += strcspn(s, "\n");
			continue;
		}
		if (*s == 0)
			return words;
		closed = take_word(&s, &b);
		if (closed)
			words = sw_strv_add(words, sw_buf_str(&b));
		sw_buf_fini(&b);
		if (!closed) {
			sw_strv_free(words);
			return NULL;
		}
	}
}

unsigned unit_distance(const char *a, const char *b)
{
	enum { LONGEST = 40 };
	size_t n = strlen(a), m = strlen(b);
	unsigned row[LONGEST + 1], before[LONGEST + 1] = {0};

	if (n > LONGEST || m > LONGEST)
		return 100;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
			bool swapped =
				i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];

			best = best < up + 1 ? best : up + 1;
			best = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
			if (swapped && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			if (j >= 1)
				before[j - 1] = diagonal;
			diagonal = up;
			row[j] = best;
		}
	}
	return row[m];
}
