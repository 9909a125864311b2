#!/bin/sh
# Turns a bare Debian into the image of the databases: PostgreSQL and Redis as Debian has them, with a cluster that was
# initialised here, so that a database is ready in a second. Runs as root in `docker build`.
#
# Made for data that may be lost: nothing is flushed to the disk, and whoever reaches the port is let in. Only the run's
# own sandbox does.
set -eu

export DEBIAN_FRONTEND=noninteractive
printf 'path-exclude=/usr/share/%s/*\n' doc man info locale > /etc/dpkg/dpkg.cfg.d/dockwright
echo 'path-include=/usr/share/doc/*/copyright' >> /etc/dpkg/dpkg.cfg.d/dockwright
echo force-unsafe-io >> /etc/dpkg/dpkg.cfg.d/dockwright
apt-get update -q
apt-get install -y -q --no-install-recommends postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get install -y -q --no-install-recommends postgresql-15 postgresql-contrib redis-server
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
for program in /usr/lib/postgresql/15/bin/*; do
  ln -sf "$program" /usr/local/bin/ # before Debian's wrappers, which want a cluster of theirs
done

# The engine fills a new volume from the folder it is mounted on, owner and mode included; /empty is for other images.
install -d -m 1777 /empty
install -d -o redis -g redis -m 0700 /data/redis
install -d -o postgres -g postgres -m 0700 /data/postgres
su postgres -s /bin/sh -c '
  initdb --pgdata /data/postgres/db --username postgres --auth trust --encoding UTF8 --locale C.UTF-8 \
    --wal-segsize 4 --no-sync
  echo "CREATE DATABASE app" | postgres --single -D /data/postgres/db postgres > /dev/null'
