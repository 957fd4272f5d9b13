# HAProxy and nothing that starts it: that is quartet-node's, copied into the pod. BASE is any Debian 12.
ARG BASE=debian:12-slim
FROM ${BASE}
RUN groupadd -r -g 999 haproxy && useradd -r -u 999 -g 999 -M -d /nonexistent -s /usr/sbin/nologin haproxy \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends haproxy \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/haproxy
USER 999:999
