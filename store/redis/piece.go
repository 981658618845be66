package redis

import (
	"context"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// ReadContent implements lifecycle.Pieces.
func (s *Store) ReadContent(
	ctx context.Context, of lifecycle.Ref, part lifecycle.Part, p []byte, offset int64,
) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	key := s.tags[s.partition(of.ID)] + kindOf(part) + of.String()
	// What stands before the bytes is short, and whoever reads on would have to remember it.
	var head []byte
	var h codec.BodyHead
	for need := codec.MaxBodyHead; need > 0; {
		more, err := s.client.GetRange(bound, key, int64(len(head)), int64(need)-1).Bytes()
		if err != nil {
			return 0, failed(ctx, err)
		}
		if head = append(head, more...); len(head) == 0 {
			return s.readInRecord(bound, of, part, p, offset)
		}
		h, need, err = codec.ReadBodyHead(head)
		if err == nil && need > 0 && len(more) == 0 {
			err = codec.ErrSum // cut
		}
		if err != nil {
			return s.brokenOff(bound, of, part, key, p, offset, err)
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	from, to := h.Chunks(offset, offset+int64(len(p)))
	data, err := s.client.GetRange(bound, key, int64(h.Begin)+from, int64(h.Begin)+to-1).Bytes()
	if err != nil {
		return 0, failed(ctx, err)
	}
	if err := h.Check(data, from, int64(len(data)) < to-from); err != nil {
		return s.brokenOff(bound, of, part, key, p, offset, err)
	}
	return copy(p, data[min(offset-from, int64(len(data))):]), nil
}

// brokenOff answers for a body that does not fit its sums. It may have been forgotten between two
// of the reads, of which the second found nothing: then it is not there, and not damaged.
func (s *Store) brokenOff(
	ctx context.Context, of lifecycle.Ref, part lifecycle.Part, key string, p []byte, offset int64, broken error,
) (int, error) {
	there, err := s.client.Exists(ctx, key).Result()
	switch {
	case err != nil:
		return 0, failed(ctx, err)
	case there == 0:
		return s.readInRecord(ctx, of, part, p, offset)
	default:
		return 0, s.damaged(of.ID, partName(part), broken)
	}
}

// readInRecord reads from a body that is not kept by itself, because the record has it or there is
// none.
func (s *Store) readInRecord(
	ctx context.Context, of lifecycle.Ref, part lifecycle.Part, p []byte, offset int64,
) (int, error) {
	if part != lifecycle.Output {
		return 0, lifecycle.ErrNotFound
	}
	content, err := s.resultIn(ctx, ctx, of)
	return copy(p, content.Data[min(offset, int64(len(content.Data))):]), err
}
