/* keys.c - CURVE keys: make, spell, keep in a file
 *
 * A key file is written beside its place and moved there by link(2), so it is whole or absent and
 * never replaces another. Copies of secrets on the stack are wiped.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/link/impl.h"

enum { KEY_FILE_BYTES_MAX = 4096 };

static const char z85_chars[] =
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

void link_z85_encode(const uint8_t key[LINK_KEY_BYTES], char ret_text[LINK_Z85_BYTES])
{
	ENSURE(zmq_z85_encode(ret_text, key, LINK_KEY_BYTES) != NULL);
}

int link_z85_decode(const char *text, uint8_t ret_key[LINK_KEY_BYTES], struct err *err)
{
	size_t len = strspn(text, z85_chars);

	/* The text is judged here: libzmq 4.3 reads any byte, and past the end of an odd length. */
	if (len != LINK_Z85_BYTES - 1 || text[len] != '\0' ||
	    zmq_z85_decode(ret_key, text) == NULL)
		return err_set(err, ERR_FORMAT, "a key is 40 characters of Z85");
	return 0;
}

static int no_curve(struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED, "libzmq cannot do CURVE: %s", zmq_strerror(errno));
}

int link_keypair(uint8_t ret_pub[LINK_KEY_BYTES], uint8_t ret_sec[LINK_KEY_BYTES], struct err *err)
{
	char pub[LINK_Z85_BYTES], sec[LINK_Z85_BYTES];

	if (zmq_curve_keypair(pub, sec) < 0)
		return no_curve(err);
	ENSURE(zmq_z85_decode(ret_pub, pub) != NULL);
	ENSURE(zmq_z85_decode(ret_sec, sec) != NULL);
	explicit_bzero(sec, sizeof(sec));
	return 0;
}

int link_public_of(const uint8_t sec[LINK_KEY_BYTES], uint8_t ret_pub[LINK_KEY_BYTES],
		   struct err *err)
{
	char pub[LINK_Z85_BYTES], text[LINK_Z85_BYTES];
	int rc;

	link_z85_encode(sec, text);
	rc = zmq_curve_public(pub, text);
	explicit_bzero(text, sizeof(text));
	if (rc < 0)
		return no_curve(err);
	ENSURE(zmq_z85_decode(ret_pub, pub) != NULL);
	return 0;
}

static int write_whole(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd);
}

static int sync_folder_of(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	free(copy);
	if (fd >= 0)
		close(fd);
	return rc;
}

int link_key_save(const char *path, const uint8_t pub[LINK_KEY_BYTES],
		  const uint8_t sec[LINK_KEY_BYTES], struct err *err)
{
	char pub_text[LINK_Z85_BYTES], sec_text[LINK_Z85_BYTES], text[256];
	CLEANUP(buf_done) struct buf draft = BUF_INIT;
	int fd, rc = 0, len;

	buf_addf(&draft, "%s.XXXXXX", path);
	(void)buf_cstr(&draft);
	fd = mkostemp((char *)draft.data, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot write a key file at '%s'", path);
	link_z85_encode(pub, pub_text);
	link_z85_encode(sec, sec_text);
	len = snprintf(text, sizeof(text), "public-key: %s\nsecret-key: %s\n", pub_text, sec_text);
	ENSURE(len > 0 && (size_t)len < sizeof(text));
	FAILPOINT("key.save.drafted");
	if (write_whole(fd, text, (size_t)len) < 0)
		rc = err_set_errno(err, ERR_IO, "cannot write key file '%s'", path);
	else if (link((char *)draft.data, path) < 0)
		rc = err_set_errno(err, errno == EEXIST ? ERR_EXISTS : ERR_IO,
				   "cannot create key file '%s'", path);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(sec_text, sizeof(sec_text));
	close(fd);
	FAILPOINT("key.save.linked");
	(void)unlink((char *)draft.data); /* a draft left behind does no harm */
	if (rc == 0 && sync_folder_of(path) < 0) {
		rc = err_set_errno(err, ERR_IO, "cannot sync the folder of '%s'", path);
		(void)unlink(path);
	}
	return rc;
}

/* Read the file into text[], NUL-terminated, after judging who may read it. */
static int key_file_read(const char *path, char text[KEY_FILE_BYTES_MAX], struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t len = 0;
	ssize_t n = 1;
	int rc = 0;

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
				     "cannot open key file '%s'", path);
	if (fstat(fd, &st) < 0) {
		rc = err_set_errno(err, ERR_IO, "cannot look at key file '%s'", path);
	} else if (!S_ISREG(st.st_mode)) {
		rc = err_set(err, ERR_FORMAT, "key file '%s' is not a regular file", path);
	} else if ((st.st_mode & 077) != 0) {
		rc = err_set(err, ERR_DENIED, "key file '%s' is open to others (mode %04o)", path,
			     (unsigned int)(st.st_mode & 07777));
		(void)err_hint(err, "if nobody has read it: chmod 600 %s; otherwise make a new key",
			       path);
	}
	while (rc == 0 && n > 0 && len < KEY_FILE_BYTES_MAX - 1) {
		n = read(fd, text + len, KEY_FILE_BYTES_MAX - 1 - len);
		if (n < 0)
			rc = err_set_errno(err, ERR_IO, "cannot read key file '%s'", path);
		else
			len += (size_t)n;
	}
	text[len] = '\0';
	close(fd);
	return rc;
}

/* The value of the one line "NAME: VALUE" in `text`. False when there is none, or two. */
static bool key_line(const char *text, const char *name, char ret_value[LINK_Z85_BYTES])
{
	size_t name_len = strlen(name);
	int found = 0;

	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");

		if (len > name_len && memcmp(line, name, name_len) == 0) {
			const char *value = line + name_len + strspn(line + name_len, " \t");
			size_t value_len = strcspn(value, " \t\r\n");

			found++;
			if (value_len != LINK_Z85_BYTES - 1)
				return false;
			memcpy(ret_value, value, value_len);
			ret_value[value_len] = '\0';
		}
		line += len + (line[len] == '\n');
	}
	return found == 1;
}

int link_key_load(const char *path, uint8_t ret_pub[LINK_KEY_BYTES],
		  uint8_t ret_sec[LINK_KEY_BYTES], struct err *err)
{
	char text[KEY_FILE_BYTES_MAX], pub_text[LINK_Z85_BYTES], sec_text[LINK_Z85_BYTES];
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES], expect[LINK_KEY_BYTES];
	int rc = key_file_read(path, text, err);

	if (rc == 0 && (!key_line(text, "public-key:", pub_text) ||
			!key_line(text, "secret-key:", sec_text) ||
			link_z85_decode(pub_text, pub, NULL) < 0 ||
			link_z85_decode(sec_text, sec, NULL) < 0))
		rc = err_set(err, ERR_FORMAT,
			     "'%s' does not hold one public-key: and one secret-key: line", path);
	if (rc == 0)
		rc = link_public_of(sec, expect, err);
	if (rc == 0 && memcmp(pub, expect, sizeof(pub)) != 0)
		rc = err_set(err, ERR_FORMAT, "the two keys of '%s' are not a pair", path);
	if (rc == 0) {
		memcpy(ret_pub, pub, sizeof(pub));
		memcpy(ret_sec, sec, sizeof(sec));
	}
	explicit_bzero(text, sizeof(text));
	explicit_bzero(sec_text, sizeof(sec_text));
	explicit_bzero(sec, sizeof(sec));
	return rc;
}
