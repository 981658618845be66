#!/bin/sh
# Writes random passwords for Redis and RabbitMQ where Docker Compose looks for them:
#
#   sh deploy/secrets.sh [FILE]
#
# FILE is .env beside docker-compose.yml unless given. One that exists is left as it is,
# because RabbitMQ keeps the password of its first start with its data.
set -eu
file=${1:-$(dirname "$0")/../.env}
if [ -e "$file" ]; then
	echo "secrets: $file is there already" >&2
	exit 0
fi
# Hexadecimal, so that it may stand in a URL.
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
set -C # never over a file that appeared meanwhile
cat >"$file" <<END
REDIS_PASSWORD=$(random)
RABBITMQ_PASSWORD=$(random)
END
