/*
 * key.c
 *		Who this node is: the file dlog_node_key in the data directory.
 *
 * It holds the node's number and its CURVE key pair, is made when the server
 * first starts with dlog, and is replaced as a whole by a rotation of the
 * key.  A physical copy of the data directory, such as a standby's, is the
 * same node; the contents of a dump are not.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "port.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/resowner.h"

#include "transport/transport_internal.h"

#define KEY_FILE "dlog_node_key"
#define KEY_FILE_NEW "dlog_node_key.new"

#define FINGERPRINT_SIZE 16 /* bytes */

/*
 * node_key_is_valid
 *		Whether a text can be a public key.
 */
bool
node_key_is_valid(const char *public_key)
{
	uint8 binary[KEY_SIZE];

	return strlen(public_key) == KEY_TEXT_SIZE - 1 &&
		   zmq_z85_decode(binary, public_key) != NULL;
}

/*
 * node_key_read
 *		Read the file; ERROR if that cannot be done or it is not ours alone.
 */
void
node_key_read(NodeKey *key)
{
	char content[512];
	char public_key[KEY_TEXT_SIZE];
	struct stat status;
	ssize_t size;
	int fd;

	fd = OpenTransientFile(KEY_FILE, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", KEY_FILE)));
	if (fstat(fd, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", KEY_FILE)));
	if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("file \"%s\" has group or world access", KEY_FILE),
				 errdetail("It holds the secret key of this node and must have permissions u=rw (0600) or less.")));
	size = read(fd, content, sizeof(content) - 1);
	if (size < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", KEY_FILE)));
	CloseTransientFile(fd);
	content[size] = '\0';

	if (sscanf(content, "node_id = " UINT64_FORMAT "\npublic_key = %40s\nsecret_key = %40s\n",
			   &key->node_id, key->public_key, key->secret_key) != 3 ||
		key->node_id == 0 ||
		!node_key_is_valid(key->secret_key) ||
		zmq_curve_public(public_key, key->secret_key) != 0 ||
		strcmp(public_key, key->public_key) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("file \"%s\" does not hold a node's key", KEY_FILE),
				 errhint("Restore it from a backup.  If there is none, remove the file: the server becomes a new node when it starts, and has to join again.")));
	explicit_bzero(content, sizeof(content));
}

/*
 * node_key_replace
 *		Write the file as a whole, durably.
 */
void
node_key_replace(const NodeKey *key)
{
	char content[512];
	int size;
	int fd;

	size = snprintf(content, sizeof(content),
					"node_id = " UINT64_FORMAT "\npublic_key = %s\nsecret_key = %s\n",
					key->node_id, key->public_key, key->secret_key);

	/* What a crash may have left behind is of no use. */
	if (unlink(KEY_FILE_NEW) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", KEY_FILE_NEW)));
	fd = OpenTransientFilePerm(KEY_FILE_NEW,
							   O_WRONLY | O_CREAT | O_EXCL | PG_BINARY,
							   S_IRUSR | S_IWUSR);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", KEY_FILE_NEW)));
	errno = 0;
	if (write(fd, content, size) != size)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", KEY_FILE_NEW)));
	}
	explicit_bzero(content, sizeof(content));
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", KEY_FILE_NEW)));

	/* Syncs the file, renames it, and syncs the directory. */
	durable_rename(KEY_FILE_NEW, KEY_FILE, ERROR);
}

/*
 * node_key_ensure
 *		Read the file, making it first if there is none.
 */
void
node_key_ensure(NodeKey *key)
{
	struct stat status;

	if (stat(KEY_FILE, &status) != 0)
	{
		if (errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not stat file \"%s\": %m", KEY_FILE)));

		/* Positive as a bigint, so that it reads well in SQL. */
		do
		{
			if (!pg_strong_random(&key->node_id, sizeof(key->node_id)))
				ereport(ERROR,
						(errcode(ERRCODE_INTERNAL_ERROR),
						 errmsg("could not generate a random number for this node")));
			key->node_id &= PG_INT64_MAX;
		} while (key->node_id == 0);
		if (zmq_curve_keypair(key->public_key, key->secret_key) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("could not generate a key pair: %m"),
					 errhint("dlog needs a libzmq that was built with CURVE.")));
		node_key_replace(key);
	}
	node_key_read(key);
}

/*
 * transport_key_fingerprint
 *		By what people tell keys apart: the start of the SHA-256 of its text, as
 *		dlog.key_fingerprint() says.  In a transaction or outside of one.
 */
char *
transport_key_fingerprint(const char *public_key)
{
	ResourceOwner owner = CurrentResourceOwner;
	bytea *bytes;
	char *text = palloc0(FINGERPRINT_SIZE * 2 + 1);

	/* The server's hash belongs to an owner while it is at work. */
	if (owner == NULL)
		CurrentResourceOwner = ResourceOwnerCreate(NULL, "dlog fingerprint");
	bytes = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(public_key)));
	if (owner == NULL)
	{
		ResourceOwnerDelete(CurrentResourceOwner);
		CurrentResourceOwner = NULL;
	}

	hex_encode(VARDATA_ANY(bytes), FINGERPRINT_SIZE, text);
	return text;
}
