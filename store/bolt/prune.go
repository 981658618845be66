package bolt

import (
	"bytes"
	"encoding/binary"
)

// prune forgets what is due for it of webhooks, about limit deliveries, and reports whether it is
// through.
func (b *batch) prune(limit int) (through bool) {
	b.pruneOneOffs()
	cutoff := nanos(b.now.Add(-b.s.options.WebhookRetention))
	for ; limit > 0; limit-- {
		key := bytes.Clone(firstOf(b.bucket(settledBucket), nil))
		if key == nil || int64(binary.BigEndian.Uint64(key)) > cutoff {
			break
		}
		b.delete(settledBucket, key)
		b.pruneDelivery(key[8:])
	}
	for ; limit > 0; limit-- {
		endpoint := bytes.Clone(firstOf(b.bucket(deletedBucket), nil))
		if endpoint == nil {
			return true
		}
		if key := bytes.Clone(firstOf(b.bucket(deliveriesBucket), endpoint)); key != nil {
			b.pruneDelivery(key)
		} else {
			b.delete(deletedBucket, endpoint)
		}
	}
	return false
}

// pruneOneOffs deletes the one-off endpoints whose time has passed. It looks through all of them,
// so not at every sweep.
func (b *batch) pruneOneOffs() {
	endpoints, now, retention := &b.s.endpoints, nanos(b.now), int64(b.s.options.WebhookRetention)
	if now < endpoints.pruned+retention/24 {
		return
	}
	endpoints.pruned = now
	for _, e := range endpoints.byID {
		if e.OneOff && (e.unsettled == 0 || !e.Holds()) && e.Named+retention <= now {
			b.deleteEndpoint(e)
		}
	}
}

// pruneDelivery forgets the delivery with a key of the bucket.
func (b *batch) pruneDelivery(key []byte) {
	d, err := b.s.delivery(key, b.bucket(deliveriesBucket).Get(key))
	if err != nil { // nobody can read it
		b.delete(deliveriesBucket, key)
		return
	}
	b.forgetDelivery(positionOf(key[:8]), d)
}
