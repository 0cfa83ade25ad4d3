ip link set lo up
/tmp/kitx/open.sh setpriv --reuid 10001 --regid 10001 --clear-groups /tmp/wt-kit/.venv/bin/python /tmp/kitx/who.py > /tmp/kitx/o &
sleep 2
/tmp/kitx/open.sh setpriv --reuid 10001 --regid 10001 --clear-groups /tmp/wt-kit/.venv/bin/python /tmp/kitx/cl.py 127.0.0.1 $(head -1 /tmp/kitx/o) &
sleep 2; echo "pod shared pid+net, same uid: $(sed -n 2p /tmp/kitx/o)"; wait
