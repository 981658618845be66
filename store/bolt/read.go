package bolt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// Get implements lifecycle.Store.
func (s *Store) Get(ctx context.Context, of lifecycle.Ref) (_ lifecycle.Request, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpGet, time.Now(), &err)
	return s.get(ctx, of)
}

// get is Get for a call that is none of the interface.
func (s *Store) get(ctx context.Context, of lifecycle.Ref) (lifecycle.Request, error) {
	r, err := s.load(ctx, of.ID)
	if err != nil {
		return lifecycle.Request{}, err
	}
	if !of.Of(&r.Request) {
		return lifecycle.Request{}, lifecycle.ErrNotFound
	}
	return s.present(r), nil
}

// present returns a request as it is handed out: a pending one with its position.
func (s *Store) present(r *record) lifecycle.Request {
	out := r.Request
	if out.Status == lifecycle.Pending {
		out.Position = new(s.queue.ahead(r.Route, r.Priority, r.Ticket))
		if r.Concurrency.Limited() {
			out.InLine = s.slots.inLine(r.ID)
			out.Parked = out.InLine != nil
		}
	}
	return out
}

// Content implements lifecycle.Store.
func (s *Store) Content(ctx context.Context, of lifecycle.Ref, p lifecycle.Part) (_ lifecycle.Content, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpContent, time.Now(), &err)
	var content lifecycle.Content
	err = s.view(ctx, func(tx *bolt.Tx) (err error) {
		if of.Life != lifecycle.AnyLife { // the bodies belong to whichever is there
			if _, err := s.readRecord(tx, of); err != nil {
				return err
			}
		}
		content, err = s.body(tx, of.ID, p, false)
		s.journal.touched(len(content.Data))
		return err
	})
	return content, err
}

// maxScanned bounds how many requests one List scans.
const maxScanned = 2000

// List implements lifecycle.Store. The newest is the one that was created last.
func (s *Store) List(ctx context.Context, q lifecycle.Query) (_ lifecycle.Page, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpList, time.Now(), &err)
	if q.All {
		return s.listAll(ctx, q)
	}
	before := ^uint64(0)
	if q.Cursor != "" {
		serial, ok := parseCursor(q.Owner, q.Cursor)
		if !ok {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		before = serial
	}
	var page lifecycle.Page
	err = s.view(ctx, func(tx *bolt.Tx) error {
		page = lifecycle.Page{}
		prefix := ownerPrefix(q.Owner)
		before, first := before, uint64(0)
		if !q.Until.IsZero() {
			end, err := s.serialAt(tx, prefix, nanosAt(q.Until.Add(lifecycle.ClockSlack)))
			if err != nil {
				return err
			}
			before = min(before, end)
		}
		if !q.Since.IsZero() {
			var err error
			if first, err = s.serialAt(tx, prefix, nanosAt(q.Since.Add(-lifecycle.ClockSlack))); err != nil {
				return err
			}
		}
		requests := tx.Bucket(requestsBucket)
		cursor := tx.Bucket(ownersBucket).Cursor()
		key, entry := seekBefore(cursor, binary.BigEndian.AppendUint64(bytes.Clone(prefix), before))
		var seen uint64 // serial of what was looked at last
		for scanned := 0; within(key, prefix) && offsetOf(key) >= first; key, entry = prev(cursor, key) {
			if scanned == maxScanned || len(page.Requests) >= max(q.Limit, 1) {
				page.Next = formatCursor(q.Owner, seen)
				return nil
			}
			scanned++
			seen = offsetOf(key)
			r, err := s.match(requests, entry, q)
			if err != nil {
				return err
			}
			if r != nil && q.Selects(&r.Request) {
				if r, err = s.whole(tx, r); err != nil {
					return err
				}
				page.Requests = append(page.Requests, s.present(r))
			}
		}
		return nil
	})
	if err != nil {
		return lifecycle.Page{}, err
	}
	return page, nil
}

// match returns the request of an entry of owners if the query selects it, and
// decodes it only then.
func (s *Store) match(requests *bolt.Bucket, entry []byte, q lifecycle.Query) (*record, error) {
	id, route, topic := codec.CutOwnerEntry(entry)
	if q.Route != "" && string(route) != q.Route || q.Topic != "" && string(topic) != q.Topic {
		return nil, nil
	}
	stored := requests.Get(id)
	value, err := unseal(s.journal.strict, requestsBucket, id, stored)
	if err == nil && len(value) == 0 {
		err = errGone
	}
	if err == nil && q.Status != "" && string(value[:1]) != codec.StatusLetter(q.Status) {
		return nil, nil
	}
	var r *record
	if err == nil {
		r, err = decodeRecord(string(id), value)
	}
	if err != nil {
		return nil, s.damaged(string(id), "the record", err)
	}
	return r, nil
}

// A cursor is a serial, and a sum over it and the owner that tells it from what no page had.
func formatCursor(owner string, serial uint64) string {
	raw := binary.BigEndian.AppendUint64(nil, serial)
	raw = binary.BigEndian.AppendUint32(raw, cursorSum(owner, raw))
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(owner, cursor string) (serial uint64, ok bool) {
	// The decoder overlooks line breaks, hence the length.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != 12 || len(cursor) != base64.RawURLEncoding.EncodedLen(12) || binary.BigEndian.Uint32(raw[8:]) != cursorSum(owner, raw[:8]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(raw), true
}

func cursorSum(owner string, serial []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(serial), crc32.IEEETable, []byte(owner))
}
