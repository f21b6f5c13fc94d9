# common.sh
#	What the scripts of this folder share.  Sourced by bash; afterwards the
#	working directory is the top of the source, and after find_scratch the
#	scratch directory, which the servers' user can read.
#
# Words.  The *scratch* directory holds all that tests and demo write: it is
# scratch/ here or, where the user who runs servers could not reach it, a
# directory in /tmp that scratch links to.  The *private server* is a copy of
# the installed server (its programs copied, the rest linked) with dlog
# installed into it, so that nothing outside of scratch is changed.

set -euo pipefail
export LC_ALL=C
unset MAKEFLAGS MAKELEVEL MFLAGS PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
# By its path: a private server has one of this name, too.
PG_CONFIG=${PG_CONFIG:-pg_config}
export PG_CONFIG=$(command -v "$PG_CONFIG" || echo "$PG_CONFIG")

say() { printf '\n==> %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Servers refuse to run as root, so root runs them as another user.
find_server_user() {
	server_user=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		server_user=postgres
		id postgres >/dev/null 2>&1 || server_user=nobody
	fi
}
find_server_user

as_server_user() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$server_user" -- "$@"
	else
		"$@"
	fi
}

# Sets $scratch, makes it exist, owned by the server's user, and goes there.
find_scratch() {
	scratch=$top/scratch
	if [ ! -d "$scratch" ]; then
		rm -f "$scratch"
		# A socket's path must stay below 108 bytes.
		if as_server_user test -x "$top" && [ ${#top} -le 60 ]; then
			mkdir "$scratch"
		else
			ln -s "$(mktemp -d /tmp/dlog.XXXXXX)" "$scratch"
		fi
	fi
	scratch=$(cd -P "$scratch" && pwd)
	[ "$(id -u)" != 0 ] || chown "$server_user" "$scratch"
	chmod 711 "$scratch"
	cd "$scratch"
}

# Where the server of PG_CONFIG keeps its things.
find_server() {
	pgxs=$("$PG_CONFIG" --pgxs 2>/dev/null) && [ -f "$pgxs" ] ||
		die "PostgreSQL's server headers are not here; on Debian, tools/packages installs them"
	pgxs=$(dirname "$pgxs")/../..
	bindir=$("$PG_CONFIG" --bindir)
	[ -x "$bindir/postgres" ] || die "there is no server in $bindir"
	pkglibdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)
}

# build_private_server DIRECTORY MAKE-ARGUMENT...
#	Sets $bin to its programs.  Objects are kept beside it, in its "build".
build_private_server() {
	local root=$1 stamp
	shift
	find_server
	stamp="$("$PG_CONFIG" --version) $bindir $(stat -c %Y "$bindir/postgres")"
	if [ "$(cat "$root/made-from" 2>/dev/null)" != "$stamp" ]; then
		rm -rf "$root"
		mkdir -p "$root$bindir" "$root$pkglibdir" "$root$sharedir/extension" "$root/build"
		cp -a "$bindir/." "$root$bindir"
		ln -s "$pkglibdir"/* "$root$pkglibdir"
		for entry in "$sharedir"/*; do
			[ "$entry" = "$sharedir/extension" ] || ln -s "$entry" "$root$sharedir"
		done
		ln -s "$sharedir"/extension/* "$root$sharedir/extension"
		rm -f "$root$pkglibdir"/dlog* "$root$sharedir"/extension/dlog*
		echo "$stamp" >"$root/made-from"
	fi
	# The source again, as links, so that its objects are apart from ours.
	find "$root/build" -xtype l -delete
	for dir in $(cd "$top" && ls -d src src/*/ include/dlog/ mdns/); do
		mkdir -p "$root/build/$dir"
		find "$top/$dir" -maxdepth 1 \( -name '*.[ch]' -o -name '*.def' \) \
			-exec ln -sf -t "$root/build/$dir" {} +
	done
	ln -sf -t "$root/build" "$top"/{Makefile,dlog.control,dlog--*.sql}
	make -s -j"$(nproc)" -C "$root/build" "$@" all
	make -s -C "$root/build" "$@" DESTDIR="$root" install >/dev/null
	bin=$root$bindir
}

# Prints a port for a server: neither it nor dlog's, 10000 above, is in use.
find_port() {
	local port
	while :; do
		port=$((12000 + RANDOM % 10000))
		if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null &&
			! (: <"/dev/tcp/127.0.0.1/$((port + 10000))") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
}
