package redis

import (
	"context"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/parts"
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
	kind := "i:"
	if part == lifecycle.Output {
		kind = "o:"
	}
	key := s.tags[s.partition(of.ID)] + kind + of.String()
	// What stands before the bytes is as long as their type, and is read with them: it is short, and
	// whoever reads on would have to remember it.
	head, err := s.client.GetRange(bound, key, 0, parts.MaxBodyHead-1).Bytes()
	if err != nil {
		return 0, failed(ctx, err)
	}
	if len(head) == 0 { // a body is never empty, so there is none
		return 0, lifecycle.ErrNotFound
	}
	begin, err := parts.BodyBegin(head)
	if err != nil { // a type that no caller of the API can have given, or damage
		content, err := s.Content(ctx, of, part)
		return copy(p, content.Data[min(offset, int64(len(content.Data))):]), err
	}
	from := int64(begin) + offset
	if end := from + int64(len(p)); end <= int64(len(head)) || len(head) < parts.MaxBodyHead {
		return copy(p, head[min(from, int64(len(head))):]), nil
	}
	value, err := s.client.GetRange(bound, key, from, from+int64(len(p))-1).Bytes()
	return copy(p, value), failed(ctx, err)
}
