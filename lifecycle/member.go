package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// memberOptions is what the content of a batch holds of a member besides the member's own content.
type memberOptions struct {
	// Its own; "" for the one that follows from the batch.
	ID          string        `json:"id,omitzero"`
	Route       string        `json:"route"`
	Topic       string        `json:"topic,omitzero"`
	Priority    int           `json:"priority,omitzero"`
	Delay       time.Duration `json:"delay,omitzero"`
	Timeout     time.Duration `json:"timeout"`
	Retention   time.Duration `json:"retention"`
	MaxAttempts int           `json:"maxAttempts"`
	RetryDelay  time.Duration `json:"retryDelay,omitzero"`
	Concurrency Concurrency   `json:"concurrency,omitzero"`
	Type        string        `json:"type"` // of its content
	Webhook     *Webhook      `json:"webhook,omitzero"`
}

// batchType is the media type of the content of a batch. Nobody but the functions here reads it.
const batchType = "application/vnd.hark.batch"

// encodeMembers returns members as the content of a batch: of each its options and its content,
// with their lengths. The content stays byte for byte as it was submitted. Behind them stands then,
// if it is not nil.
func encodeMembers(members []Submission, then *Submission) (Content, error) {
	var data []byte
	all := len(members)
	if then != nil {
		all++
	}
	for i := range all {
		m := then
		if i < len(members) {
			m = &members[i]
		}
		options, err := json.Marshal(memberOptions{
			ID: m.ID, Route: m.Route, Topic: m.Topic, Priority: m.Priority, Delay: m.Delay, Timeout: m.Timeout,
			Retention: m.Retention, MaxAttempts: m.MaxAttempts, RetryDelay: m.RetryDelay, Type: m.Content.Type, Webhook: m.Webhook, Concurrency: m.Concurrency,
		})
		if err != nil {
			return Content{}, fmt.Errorf("options of a batch's request: %w", err)
		}
		for _, part := range [][]byte{options, m.Content.Data} {
			data = append(binary.AppendUvarint(data, uint64(len(part))), part...)
		}
	}
	return Content{Type: batchType, Data: data}, nil
}

var errBatchContent = errors.New("the content of a batch is damaged")

// decodeMembers reads what encodeMembers wrote, as the submissions of a batch's members and of what
// follows, nil if nothing does.
func decodeMembers(batch *Request, data []byte) (members []Submission, then *Submission, err error) {
	members = make([]Submission, 0, batch.Batch.Total)
	next := func() []byte {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return nil
		}
		part := data[size : size+int(n)]
		data = data[size+int(n):]
		return part
	}
	for len(data) > 0 {
		var o memberOptions
		options, content := next(), next()
		if options == nil || content == nil || json.Unmarshal(options, &o) != nil {
			return nil, nil, fmt.Errorf("request %s: %w", batch.ID, errBatchContent)
		}
		mark := memberMark(batch, len(members))
		sub := Submission{
			ID: o.ID, Owner: batch.Owner, Route: o.Route, Topic: o.Topic, Priority: o.Priority, Delay: o.Delay, Timeout: o.Timeout,
			Retention: o.Retention, MaxAttempts: o.MaxAttempts, RetryDelay: o.RetryDelay, Webhook: o.Webhook, Headers: batch.Headers, Fingerprint: mark.fingerprint(),
			Concurrency: o.Concurrency, CountWaiting: batch.CountedWaiting,
			Content: Content{Type: o.Type, Data: content},
		}
		if len(members) == batch.Batch.Total && then == nil && sub.ID == batch.Batch.Then {
			then = &sub
			continue
		}
		if sub.ID == "" {
			sub.ID = mark.id(batch)
		} else {
			sub.Life = NewLife()
		}
		sub.BatchID, sub.BatchLife, sub.Member = batch.ID, batch.Life, int32(len(members))
		members = append(members, sub)
	}
	if len(members) != batch.Batch.Total || (then != nil) != (batch.Batch.Then != "") {
		return nil, nil, fmt.Errorf("request %s: %w", batch.ID, errBatchContent)
	}
	return members, then, nil
}

// mark tells a member of a batch from everything else: from other requests, and from the members of
// another life of the batch's id.
type mark [sha256.Size]byte

func memberMark(batch *Request, member int) (m mark) {
	hash := sha256.New()
	hash.Write([]byte(batch.Ref().String()))
	var n [17]byte // behind a NUL, which is in no id
	binary.BigEndian.PutUint64(n[1:], uint64(batch.CreatedAt.UnixNano()))
	binary.BigEndian.PutUint64(n[9:], uint64(member))
	hash.Write(n[:])
	hash.Sum(m[:0])
	return m
}

// fingerprint is that of the member, so that to store it again finds that one and no other.
func (m mark) fingerprint() string { return base64.RawURLEncoding.EncodeToString(m[:]) }

// id is that of the member, unless it has one of its own: a UUID (RFC 9562, section 5.8) that
// begins with when the batch was made, in milliseconds, as those of other requests do. A store that
// sorts by ids has the members of a batch next to each other then, and next to what else was made
// at that time.
func (m mark) id(batch *Request) string {
	if !batch.Batch.Timed {
		return m.fingerprint()
	}
	id := m[:16]
	var made [8]byte
	binary.BigEndian.PutUint64(made[:], uint64(batch.CreatedAt.UnixMilli()))
	copy(id, made[2:])
	return uuidOf(id)
}

// uuidOf returns 16 bytes as a UUID of version 8.
func uuidOf(id []byte) string {
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// submissions returns those of a batch's members, and of what follows, nil if nothing does.
func (b *Batches) submissions(ctx context.Context, batch *Request) (members []Submission, then *Submission, err error) {
	content, err := b.store.Content(ctx, batch.Ref(), Input)
	if err != nil {
		return nil, nil, fmt.Errorf("content of batch %s: %w", batch.ID, err)
	}
	return decodeMembers(batch, content.Data)
}

// memberIDs returns the ids of a batch's members.
func (b *Batches) memberIDs(ctx context.Context, batch *Request) ([]string, error) {
	ids := make([]string, batch.Batch.Total)
	if !batch.Batch.Named {
		for i := range ids {
			ids[i] = memberMark(batch, i).id(batch)
		}
		return ids, nil
	}
	members, _, err := b.submissions(ctx, batch)
	if err != nil {
		return nil, err
	}
	for i := range members {
		ids[i] = members[i].ID
	}
	return ids, nil
}

// member returns a member of a batch by its id. ErrNotFound if it is not there, or that is the id
// of another request.
func (b *Batches) member(ctx context.Context, batch *Request, member int, id string) (Request, error) {
	r, err := b.store.Get(ctx, Named(id))
	if err == nil && r.Fingerprint != memberMark(batch, member).fingerprint() {
		return Request{}, ErrNotFound
	}
	return r, err
}

// Members returns up to limit members of one of the caller's batches, from the given one on, in the
// order in which they were submitted, and which is the next one, 0 at the end. Members that were
// forgotten, or are not stored yet, are left out. With them comes the life of the batch that they
// are of. ErrNotFound if the request is no batch, ErrCursor if there is no such member.
func (b *Batches) Members(ctx context.Context, caller Principal, of Ref, from, limit int) (members []Request, life string, next int, err error) {
	batch, err := b.Get(ctx, caller, of)
	if err != nil {
		return nil, "", 0, err
	}
	if from < 0 || from >= batch.Batch.Total {
		return nil, "", 0, ErrCursor
	}
	ids, err := b.memberIDs(ctx, &batch)
	if err != nil {
		return nil, "", 0, err
	}
	page := make([]Request, min(limit, len(ids)-from))
	if err := each(len(page), func(i int) error {
		r, err := b.member(ctx, &batch, from+i, ids[from+i])
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		page[i] = r
		return err
	}); err != nil {
		return nil, "", 0, err
	}
	there := make([]Request, 0, len(page))
	for i := range page {
		if page[i].ID != "" {
			b.service.estimate(ctx, &page[i])
			there = append(there, page[i])
		}
	}
	if next = from + len(page); next == len(ids) {
		next = 0
	}
	return there, batch.Life, next, nil
}

// Get is [Service.Get] for a batch. ErrNotFound if the request is none.
func (b *Batches) Get(ctx context.Context, caller Principal, of Ref) (Request, error) {
	r, err := b.service.Get(ctx, caller, of)
	if err == nil && r.Batch == nil {
		return Request{}, ErrNotFound
	}
	return r, err
}
