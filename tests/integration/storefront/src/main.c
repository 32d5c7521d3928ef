#include <stdio.h>
#include <string.h>
#include <unistd.h>

int answer(void);

int main(int argc, char **argv)
{
	char line[100] = "";
	FILE *f = fopen("/static/index.html", "r");

	if (f == NULL || fgets(line, sizeof line, f) == NULL || argc < 2)
		return 1;
	printf("profile %s serves %s, %d\n", argv[1], line, answer());
	fflush(stdout);
	for (;;)
		pause();
}
