/*
 * The queue and its worker. What a batch does is in disk_db.c.
 */
#include "manager/consensus/disk.h"

#include "base/assert.h"
#include "base/mem.h"
#include "manager/consensus/disk_db.h"
#include "manager/consensus/snapshot.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { RETRY_MS = 250, BATCH_BYTES = 8 * 1024 * 1024 };

struct cons_disk {
	struct disk_db *db;
	pthread_mutex_t db_lock; /* the connection: worker, and the loop for term and vote */
	pthread_mutex_t lock;    /* everything below */
	pthread_cond_t wake;
	pthread_t thread;
	struct disk_job *head, **tail; /* waiting */
	struct disk_job *batch;        /* being written */
	struct disk_job *finished;     /* for the loop to free */
	uint64_t done;
	bool stop, trouble;
	struct sw_error why;
	void (*notify)(void *);
	void *arg;
};

static void job_free(struct disk_job *j)
{
	for (size_t i = 0; i < j->n_rows; i++)
		cons_entry_unref(j->rows[i]);
	free(j->rows);
	cons_meta_fini(&j->meta);
	free(j);
}

static void job_free_all(struct disk_job *j)
{
	while (j != NULL) {
		struct disk_job *next = j->next;

		job_free(j);
		j = next;
	}
}

/* With the lock held: takes the first jobs, up to BATCH_BYTES, out of the queue. What is pushed
 * while they are being written must not slip into them. */
static struct disk_job *batch_take(struct cons_disk *d)
{
	struct disk_job *first = d->head, *last = NULL;
	size_t bytes = 0;

	while (d->head != NULL && bytes < BATCH_BYTES) {
		last = d->head;
		for (size_t i = 0; i < last->n_rows; i++)
			bytes += last->rows[i]->n;
		d->head = last->next;
	}
	if (last != NULL)
		last->next = NULL;
	if (d->head == NULL)
		d->tail = &d->head;
	return first;
}

static void wait_retry(struct cons_disk *d)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += RETRY_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_cond_timedwait(&d->wake, &d->lock, &until);
}

/* With the lock held: the batch is durable. */
static void batch_done(struct cons_disk *d)
{
	while (d->batch != NULL) {
		struct disk_job *j = d->batch;

		d->batch = j->next;
		d->done = j->seq;
		j->next = d->finished;
		d->finished = j;
	}
}

static void *worker(void *arg)
{
	struct cons_disk *d = arg;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct sw_error err = {0};
		int rv;

		while (d->head == NULL && d->batch == NULL && !d->stop)
			pthread_cond_wait(&d->wake, &d->lock);
		if (d->batch == NULL)
			d->batch = batch_take(d);
		if (d->batch == NULL)
			break;
		pthread_mutex_unlock(&d->lock);
		pthread_mutex_lock(&d->db_lock);
		rv = disk_db_batch(d->db, d->batch, &err);
		pthread_mutex_unlock(&d->db_lock);
		pthread_mutex_lock(&d->lock);
		d->trouble = rv != 0;
		d->why = err;
		if (rv == 0) {
			batch_done(d);
			d->notify(d->arg);
		} else if (d->stop) {
			break;
		} else {
			wait_retry(d);
		}
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void push(struct cons_disk *d, struct disk_job *j)
{
	pthread_mutex_lock(&d->lock);
	*d->tail = j;
	d->tail = &j->next;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

void cons_disk_write(struct cons_disk *d, uint64_t seq, uint64_t from, struct cons_entry *const *e,
		     size_t n)
{
	struct disk_job *j = sw_new(struct disk_job);

	j->kind = DISK_WRITE;
	j->seq = seq;
	j->from = from;
	j->n_rows = n;
	j->rows = sw_new_n(struct cons_entry *, n > 0 ? n : 1);
	for (size_t i = 0; i < n; i++)
		j->rows[i] = cons_entry_ref(e[i]);
	push(d, j);
}

void cons_disk_snapshot_commit(struct cons_disk *d, uint64_t seq, const struct cons_meta *m,
			       uint64_t keep_from)
{
	struct disk_job *j = sw_new(struct disk_job);

	j->kind = DISK_SNAPSHOT;
	j->seq = seq;
	j->from = keep_from;
	cons_meta_copy(&j->meta, m);
	push(d, j);
}

void cons_disk_install(struct cons_disk *d, uint64_t seq, const struct cons_meta *m,
		       const uint8_t *p, size_t n)
{
	struct disk_job *j = sw_new(struct disk_job);

	j->kind = DISK_INSTALL;
	j->seq = seq;
	j->p = p;
	j->n = n;
	cons_meta_copy(&j->meta, m);
	push(d, j);
}

bool cons_disk_set_term(struct cons_disk *d, uint64_t term, uint64_t vote)
{
	struct sw_error err = {0};
	int rv;

	pthread_mutex_lock(&d->db_lock);
	rv = disk_db_set_term(d->db, term, vote, &err);
	pthread_mutex_unlock(&d->db_lock);
	if (rv == 0)
		return true;
	pthread_mutex_lock(&d->lock);
	d->trouble = true;
	d->why = err;
	pthread_mutex_unlock(&d->lock);
	return false;
}

uint64_t cons_disk_done(struct cons_disk *d)
{
	struct disk_job *j;
	uint64_t done;

	pthread_mutex_lock(&d->lock);
	j = d->finished;
	d->finished = NULL;
	done = d->done;
	pthread_mutex_unlock(&d->lock);
	job_free_all(j);
	return done;
}

bool cons_disk_trouble(struct cons_disk *d, struct sw_error *ret)
{
	bool trouble;

	pthread_mutex_lock(&d->lock);
	trouble = d->trouble;
	if (trouble)
		*ret = d->why;
	pthread_mutex_unlock(&d->lock);
	return trouble;
}

const char *cons_disk_dir(const struct cons_disk *d)
{
	return disk_db_dir(d->db);
}

int cons_disk_open(const char *dir, uint64_t raft_id, void (*notify)(void *), void *arg,
		   struct cons_disk **ret, struct cons_disk_state *ret_state,
		   uint8_t **ret_snapshot, size_t *ret_n, struct sw_error *err)
{
	struct disk_db *db = NULL;
	struct cons_disk *d;
	int rv = disk_db_open(dir, raft_id, &db, err);

	if (rv == 0)
		rv = disk_db_load(db, ret_state, ret_snapshot, ret_n, err);
	if (rv != 0) {
		disk_db_close(db);
		return rv;
	}
	d = sw_new(struct cons_disk);
	d->db = db;
	d->tail = &d->head;
	d->notify = notify;
	d->arg = arg;
	pthread_mutex_init(&d->db_lock, NULL);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->wake, NULL);
	SW_ASSERT(pthread_create(&d->thread, NULL, worker, d) == 0);
	*ret = d;
	return 0;
}

void cons_disk_close(struct cons_disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	cons_disk_done(d);
	job_free_all(d->batch);
	job_free_all(d->head);
	disk_db_close(d->db);
	pthread_mutex_destroy(&d->db_lock);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->wake);
	free(d);
}
