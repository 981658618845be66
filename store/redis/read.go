package redis

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
)

// Get implements lifecycle.Store.
func (s *Store) Get(ctx context.Context, of lifecycle.Ref) (_ lifecycle.Request, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpGet, time.Now(), &err)
	return s.get(ctx, of)
}

// get is Get for a call that has been counted.
func (s *Store) get(ctx context.Context, of lifecycle.Ref) (lifecycle.Request, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Request{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	r, out, err := s.load(bound, of)
	if err == nil && r == nil {
		return lifecycle.Request{}, lifecycle.ErrNotFound
	}
	return out, failed(ctx, err)
}

// Content implements lifecycle.Store.
func (s *Store) Content(ctx context.Context, of lifecycle.Ref, p lifecycle.Part) (_ lifecycle.Content, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpContent, time.Now(), &err)
	return s.content(ctx, of, p)
}

// content is Content for a call that has been counted.
func (s *Store) content(ctx context.Context, of lifecycle.Ref, p lifecycle.Part) (lifecycle.Content, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Content{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	if of.Life == lifecycle.AnyLife {
		r, err := s.get(ctx, of)
		if err != nil {
			return lifecycle.Content{}, err
		}
		of = r.Ref()
	}
	tag := s.tags[s.partition(of.ID)]
	value, err := s.client.Get(bound, tag+kindOf(p)+of.String()).Result()
	if errors.Is(err, goredis.Nil) && p == lifecycle.Output {
		return s.resultIn(ctx, bound, of)
	}
	if errors.Is(err, goredis.Nil) {
		return lifecycle.Content{}, lifecycle.ErrNotFound
	}
	if err != nil {
		return lifecycle.Content{}, failed(ctx, err)
	}
	content, err := codec.OpenBody([]byte(value))
	if err != nil {
		return lifecycle.Content{}, s.damaged(of.ID, partName(p), err)
	}
	return content, nil
}

// resultIn returns the result that a record has.
func (s *Store) resultIn(ctx, bound context.Context, of lifecycle.Ref) (lifecycle.Content, error) {
	value, err := s.client.Get(bound, s.tags[s.partition(of.ID)]+"r:"+of.ID).Result()
	if errors.Is(err, goredis.Nil) {
		return lifecycle.Content{}, lifecycle.ErrNotFound
	}
	if err != nil {
		return lifecycle.Content{}, failed(ctx, err)
	}
	r, err := s.record(of.ID, value)
	switch {
	case err != nil:
		return lifecycle.Content{}, err
	case !of.Of(&r.Request) || r.Result == nil || len(r.Result.Value) == 0:
		return lifecycle.Content{}, lifecycle.ErrNotFound
	}
	return lifecycle.Content{Type: r.Result.Type, Data: r.Result.Value}, nil
}

// maxScanned bounds how many requests one List scans in each partition.
const maxScanned = 2000

// place is where a request stands in the list of its owner. Serials are times, so
// partitions can be merged; within one they never repeat.
type place struct {
	serial    int64
	partition int
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.serial, q.serial), cmp.Compare(p.partition, q.partition))
}

type listed struct {
	place
	id, value string
	r         *record // value, once it is decoded
	count     int
}

// List implements lifecycle.Store. The newest is the one that was created last.
func (s *Store) List(ctx context.Context, q lifecycle.Query) (_ lifecycle.Page, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpList, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return lifecycle.Page{}, err
	}
	if q.All {
		return s.listAll(ctx, q)
	}
	before := place{serial: 1 << 53}
	if q.Cursor != "" {
		parsed, ok := parseCursor(q.Owner, q.Cursor)
		if !ok || parsed.partition >= len(s.tags) {
			return lifecycle.Page{}, lifecycle.ErrCursor
		}
		before = parsed
	}
	// Serials are times, and a request's is never before that of its creation.
	lowest := "-inf"
	if micros(q.Since) > serialsAreTimes {
		lowest = strconv.FormatInt(micros(q.Since), 10)
	}
	if end := micros(q.Until.Add(lifecycle.ClockSlack)); !q.Until.IsZero() && end < before.serial {
		before = place{serial: max(end, serialsAreTimes)}
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	limit := max(q.Limit, 1)
	answers, err := s.runAll(bound, scripts.list, func(i int) []any {
		highest := strconv.FormatInt(before.serial, 10)
		if i >= before.partition {
			highest = "(" + highest
		}
		// One more than the limit tells whether another page follows.
		return []any{q.Owner, highest, q.Route, q.Topic, codec.StatusLetter(q.Status), limit + 1, maxScanned, lowest}
	})
	if err != nil {
		return lifecycle.Page{}, failed(ctx, err)
	}
	var found []listed
	horizon := place{serial: -1} // below it, not all has been scanned
	for i, answer := range answers {
		part, last, err := decodeList(i, answer)
		if err != nil {
			return lifecycle.Page{}, failed(ctx, err)
		}
		found = append(found, part...)
		if last.compare(horizon) > 0 {
			horizon = last
		}
	}
	slices.SortFunc(found, func(a, b listed) int { return b.compare(a.place) })
	found = slices.DeleteFunc(found, func(l listed) bool { return l.compare(horizon) < 0 })
	var page lifecycle.Page
	switch {
	case len(found) > limit:
		found = found[:limit]
		page.Next = formatCursor(q.Owner, found[limit-1].place)
	case horizon.serial >= 0:
		page.Next = formatCursor(q.Owner, horizon)
	}
	page.Requests, err = s.presentAll(bound, found)
	if err != nil {
		return lifecycle.Page{}, failed(ctx, err)
	}
	page.Requests = slices.DeleteFunc(page.Requests, func(r lifecycle.Request) bool { return !q.Selects(&r) })
	return page, nil
}

// serialsAreTimes is the serial from which on they are times, in µs. Those of what was imported
// from the embedded store are below.
const serialsAreTimes = 1_000_000_000_000

// decodeList reads what one partition has found, and where it stopped looking; a
// negative serial if it has seen all.
func decodeList(i int, answer link.Answer) ([]listed, place, error) {
	stopped := place{serial: -1}
	if more, err := answer.Number(1); err != nil {
		return nil, place{}, err
	} else if more == 1 {
		serial, err := answer.Number(0)
		if err != nil {
			return nil, place{}, err
		}
		stopped = place{serial, i}
	}
	rows := answer.List(2)
	found := make([]listed, 0, len(rows)/4)
	for n := 0; n+3 < len(rows); n += 4 {
		serial, err := rows.Number(n + 1)
		if err != nil {
			return nil, place{}, err
		}
		count, err := rows.Number(n + 3)
		if err != nil {
			return nil, place{}, err
		}
		found = append(found, listed{place: place{serial, i}, id: rows.Text(n), value: rows.Text(n + 2), count: int(count)})
	}
	return found, stopped, nil
}

// presentAll returns requests as they are handed out.
func (s *Store) presentAll(ctx context.Context, found []listed) ([]lifecycle.Request, error) {
	out := make([]lifecycle.Request, len(found))
	var spans []span
	var own, waiting []int
	var limited bool
	records := make([]*record, len(found))
	for i := range found {
		if found[i].r == nil {
			var err error
			if found[i].r, err = s.record(found[i].id, found[i].value); err != nil {
				return nil, err
			}
		}
		out[i], records[i] = found[i].r.Request, found[i].r
		limited = limited || out[i].Status == lifecycle.Pending && out[i].Concurrency.Limited()
		if out[i].Status == lifecycle.Pending {
			out[i].Position = &found[i].count
			spans = append(spans, span{found[i].r.queue, found[i].r.member()})
			own = append(own, found[i].count)
			waiting = append(waiting, i)
		}
	}
	if limited {
		if err := s.lineUp(ctx, out, records); err != nil {
			return nil, err
		}
	}
	if len(s.tags) == 1 || len(spans) == 0 {
		return out, nil
	}
	counts := s.counts(ctx, spans, own)
	for n, i := range waiting {
		out[i].Position = &counts[n]
	}
	return out, ctx.Err()
}

// A cursor is a place, and a sum over it and the owner that tells it from what no page had.
func formatCursor(owner string, p place) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(p.serial))
	raw = binary.BigEndian.AppendUint16(raw, uint16(p.partition))
	raw = binary.BigEndian.AppendUint32(raw, cursorSum(owner, raw))
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(owner, cursor string) (place, bool) {
	// The decoder overlooks line breaks, hence the length.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != 14 || len(cursor) != base64.RawURLEncoding.EncodedLen(14) || binary.BigEndian.Uint32(raw[10:]) != cursorSum(owner, raw[:10]) {
		return place{}, false
	}
	p := place{int64(binary.BigEndian.Uint64(raw)), int(binary.BigEndian.Uint16(raw[8:]))}
	return p, p.serial >= 0 && p.serial <= 1<<53
}

func cursorSum(owner string, place []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(place), crc32.IEEETable, []byte(owner))
}
