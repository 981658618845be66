package codec

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/hark-push/hark/lifecycle"
)

// A cursor of a list of requests that have failed is where the last one stands, when it ended, by
// the store's own measure, and its id; and a sum over that and the query, which tells it from what
// no page of the same query had.

// FormatDeadCursor returns the cursor behind a request of a page.
func FormatDeadCursor(q *lifecycle.DeadQuery, at int64, id string) string {
	raw := append(binary.BigEndian.AppendUint64(nil, uint64(at)), id...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, deadSum(q, raw)))
}

// ParseDeadCursor reads what FormatDeadCursor made. It reports false if it did not, for this query.
func ParseDeadCursor(q *lifecycle.DeadQuery) (at int64, id string, ok bool) {
	// The decoder overlooks line breaks, hence the length.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(q.Cursor)
	if err != nil || len(raw) < 13 || len(q.Cursor) != base64.RawURLEncoding.EncodedLen(len(raw)) {
		return 0, "", false
	}
	place, sum := raw[:len(raw)-4], binary.BigEndian.Uint32(raw[len(raw)-4:])
	if deadSum(q, place) != sum {
		return 0, "", false
	}
	return int64(binary.BigEndian.Uint64(place)), string(place[8:]), true
}

func deadSum(q *lifecycle.DeadQuery, place []byte) uint32 {
	order := byte('n')
	if q.Oldest {
		order = 'o'
	}
	of := append(append([]byte(q.Route), 0x00, order), place...)
	return crc32.ChecksumIEEE(of)
}
