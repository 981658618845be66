package bolt

import (
	"bytes"

	bolt "go.etcd.io/bbolt"
)

// Going backwards. A page whose entries have all been deleted is in the tree until the transaction
// is committed. bbolt's cursor takes it for the beginning in Prev, and does not come back from Last
// if there are only such pages.

// seekBefore moves a cursor to the last entry before a key.
func seekBefore(c *bolt.Cursor, end []byte) (key, value []byte) {
	if key, _ := c.Seek(end); key != nil {
		return prev(c, key)
	}
	if key, _ := c.First(); key == nil {
		return nil, nil
	}
	return c.Last()
}

// prev moves a cursor that is at a key to the entry before it.
func prev(c *bolt.Cursor, at []byte) (key, value []byte) {
	if key, value = c.Prev(); key != nil {
		return key, value
	}
	if first, _ := c.Bucket().Cursor().First(); first == nil || bytes.Compare(first, at) >= 0 {
		return nil, nil
	}
	for key == nil {
		key, value = c.Prev()
	}
	return key, value
}
