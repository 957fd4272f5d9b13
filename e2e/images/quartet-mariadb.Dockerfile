# MariaDB 10.11 with Galera, and what its state transfers need; nothing that starts it: that is quartet-node's, copied
# into the pod. BASE is any Debian 12.
ARG BASE=debian:12-slim
FROM ${BASE}
# The package mariadb-server would bring Perl and scripts of its own: of it only the scripts of transfers and the plugins
# are taken.
RUN groupadd -r -g 999 mysql && useradd -r -u 999 -g 999 -M -d /nonexistent -s /usr/sbin/nologin mysql \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      mariadb-server-core mariadb-client-core mariadb-backup galera-4 rsync socat iproute2 procps \
 && cd /tmp && apt-get download mariadb-server && dpkg-deb --fsys-tarfile mariadb-server_*.deb \
    | tar -x -C / --wildcards './usr/bin/wsrep_sst_*' './usr/lib/mysql/plugin/*.so' \
 && apt-get clean && rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/mysql/conf.d /etc/mysql/mariadb.conf.d \
      /usr/bin/innochecksum \
 && for d in /usr/share/mysql/*/errmsg.sys; do case $d in */english/*) ;; *) rm -r "${d%/errmsg.sys}";; esac; done \
 && : > /etc/mysql/my.cnf
USER 999:999
