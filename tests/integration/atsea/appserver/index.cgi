#!/bin/sh
# The shop's page: who serves it, what there is to buy, what the payment gateway says.
export PGPASSWORD PGCONNECT_TIMEOUT=3
PGPASSWORD=$(cat /run/secrets/postgres_password)
printf 'Content-Type: text/plain\r\n\r\n'
echo "served by $(hostname)"
psql -h database -U gordonuser -d atsea -tA -F ' ' -c "SELECT 'product', name, price FROM product ORDER BY productid" 2>&1
[ "$QUERY_STRING" != pay ] || wget -q -O - http://payment_gateway:8080/ 2>&1
