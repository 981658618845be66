package lifecycle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Codes of the failure of a batch whose requests have all succeeded.
const (
	// CodeJoinedTooLarge: their results have more bytes together than a result may have.
	CodeJoinedTooLarge = "joined-result-too-large"
	// CodeNotSubmitted: the request that was to follow could not be stored, and never can.
	CodeNotSubmitted = "then-not-submitted"
)

// conclude ends a batch of which all members are counted, see [Conclude]: it joins their results if
// that was asked for, stores the request that follows if one does, tells the batch, and queues that
// request. It reads what is stored and does what is missing, so it may be done again, also by many
// at a time: the id of that request stands in the batch since that was stored, and the batch ends
// once. Whoever dies before that leaves a request that is pending, and a batch for
// [Batches.Reconcile].
//
// Few batches are concluded at a time, and one whose result is large, so that no more than that is
// in memory.
func (b *Batches) conclude(ctx context.Context, of Ref) error {
	if err := enter(ctx, b.concluding); err != nil {
		return err
	}
	defer func() { <-b.concluding }()
	batch, err := b.store.Get(ctx, of)
	if err != nil {
		return err
	}
	if !batch.toConclude() { // by somebody else, meanwhile
		return nil
	}
	ended, err := b.endings(ctx, &batch)
	if err != nil {
		return err
	}
	var end Conclude
	if batch.Batch.Joined {
		if joinedSize(ended) > largeJoined {
			if err := enter(ctx, b.joining); err != nil {
				return err
			}
			defer func() { <-b.joining }()
		}
		if end.Result, end.Failure, err = b.join(ctx, &batch, ended); err != nil {
			return err
		}
	}
	var next Request
	if status := batch.outcome(end.Failure); batch.Batch.Then != "" && status != Canceled {
		next, err = b.submitNext(ctx, &batch, status, ended)
		_, damaged := errors.AsType[*DamageError](err)
		switch {
		case err == nil:
			end.Submitted = true
		case damaged, errors.Is(err, ErrIDTaken):
			// Ids are public: somebody may have taken the one that was chosen for it.
			end.Failure = &Failure{Code: CodeNotSubmitted, Message: "The request that was to follow could not be submitted: " + reason(damaged)}
		default:
			return err
		}
	}
	_, err = b.store.Apply(ctx, of, end)
	end.Result = nil
	if _, faster := errors.AsType[*TransitionError](err); err != nil && !faster && !errors.Is(err, ErrNotFound) {
		return err
	}
	if next.Status == Pending && !next.Parked {
		b.service.enqueueAgain(ctx, next)
	}
	return nil
}

// mostConcluding is how many batches are concluded at a time; of results with more than largeJoined
// bytes one is made at a time.
const (
	mostConcluding = 4
	largeJoined    = 1 << 20
)

// enter waits for room, which whoever got it gives back.
func enter(ctx context.Context, room chan struct{}) error {
	select {
	case room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: other batches are being concluded", ErrUnavailable)
	}
}

func reason(damaged bool) string {
	if damaged {
		return "what was to be submitted was damaged where it was stored."
	}
	return "its id is that of another request."
}

// ending is how a member of a batch ended. Its Request is zero but for the id if it is not there
// any more, or its record is damaged.
type ending struct{ Request }

// known reports whether it is known how it ended.
func (e *ending) known() bool { return e.Status != "" }

// endings returns how the members of a batch ended, all of which are counted.
func (b *Batches) endings(ctx context.Context, batch *Request) ([]ending, error) {
	ids, err := b.memberIDs(ctx, batch)
	if err != nil {
		return nil, err
	}
	ended := make([]ending, len(ids))
	return ended, each(len(ids), func(i int) error {
		r, err := b.member(ctx, batch, i, ids[i])
		if _, damaged := errors.AsType[*DamageError](err); damaged || errors.Is(err, ErrNotFound) {
			r, err = Request{ID: ids[i]}, nil
		}
		ended[i] = ending{r}
		return err
	})
}

// join returns the results of the members of a batch as one JSON array, with a place for each: JSON
// as it is, other bytes as an object with contentType and contentBase64, null where there is none.
// If they cannot be joined the failure says why.
func (b *Batches) join(ctx context.Context, batch *Request, ended []ending) (*Content, *Failure, error) {
	limit, size := batch.Batch.Limit, joinedSize(ended)
	joined := buffer{data: make([]byte, 0, min(size, limit))}
	for i := range ended {
		if size > limit {
			break
		}
		if i == 0 {
			joined.text("[")
		} else {
			joined.text(",")
		}
		from := len(joined.data)
		err := b.appendResult(ctx, &joined, &ended[i])
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			return nil, &Failure{Code: CodeDamaged, Message: "The result of request " + ended[i].ID + " was damaged where it was stored, so the results cannot be joined."}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		// What says that it is JSON and is none takes more.
		size += int64(len(joined.data)-from) - ended[i].joinedSize()
	}
	if size > limit {
		return nil, &Failure{Code: CodeJoinedTooLarge, Message: fmt.Sprintf(
			"The joined result would have %d bytes, of which %d are allowed. Get the results of the requests one by one.", size, limit)}, nil
	}
	joined.text("]")
	return &Content{Type: "application/json", Data: joined.data}, nil, nil
}

// joinedSize is how many bytes a joined result has, if JSON is JSON.
func joinedSize(ended []ending) int64 {
	size := int64(len("]"))
	for i := range ended {
		size += ended[i].joinedSize() + 1
	}
	return size
}

// joinedSize is how many bytes its place has in a joined result, if JSON is JSON.
func (e *ending) joinedSize() int64 {
	switch {
	case !e.brought():
		return int64(len("null"))
	case IsJSON(e.Result.Type):
		return e.Result.Size
	default:
		return int64(len(encodedHead(e.Result.Type))+len(encodedTail)) + (e.Result.Size+2)/3*4
	}
}

// brought reports whether there is a result.
func (e *ending) brought() bool { return e.Status == Succeeded && e.Result != nil }

const encodedTail = `"}`

// encodedHead is what stands before bytes that are no JSON.
func encodedHead(mediaType string) string {
	name, _ := json.Marshal(mediaType) // a string always marshals
	return `{"contentType":` + string(name) + `,"contentBase64":"`
}

// appendResult appends the place of one member in a joined result.
func (b *Batches) appendResult(ctx context.Context, joined *buffer, e *ending) error {
	from := len(joined.data)
	if !e.brought() {
		joined.text("null")
		return nil
	}
	isJSON := IsJSON(e.Result.Type)
	var err error
	if isJSON {
		err = b.readResult(ctx, joined, e)
	} else {
		joined.text(encodedHead(e.Result.Type))
		encoder := base64.NewEncoder(base64.StdEncoding, joined)
		if err = b.readResult(ctx, encoder, e); err == nil {
			err = encoder.Close()
		}
		joined.text(encodedTail)
	}
	switch {
	case errors.Is(err, ErrNotFound): // it was forgotten meanwhile
		joined.data = append(joined.data[:from], "null"...)
		return nil
	case err == nil && isJSON && !oneValue(joined.data[from:]): // whoever reported it was mistaken
		data := bytes.Clone(joined.data[from:])
		joined.data = base64.StdEncoding.AppendEncode(append(joined.data[:from], encodedHead(e.Result.Type)...), data)
		joined.text(encodedTail)
	}
	return err
}

// joinPiece is how much of a result is read at a time, in bytes.
const joinPiece = 256 << 10

// readResult writes a result, piece by piece.
func (b *Batches) readResult(ctx context.Context, to io.Writer, e *ending) error {
	piece := make([]byte, min(e.Result.Size, joinPiece))
	for at := int64(0); at < e.Result.Size; {
		n, err := b.service.ReadContent(ctx, e.Ref(), Output, piece[:min(e.Result.Size-at, joinPiece)], at)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err == nil {
			_, err = to.Write(piece[:n])
		}
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// buffer is a [bytes.Buffer] of which the bytes can be changed.
type buffer struct{ data []byte }

// Write implements [io.Writer].
func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *buffer) text(s string) { b.data = append(b.data, s...) }

// submitNext stores the request that follows a batch which ends with a status, or finds it stored.
// Nothing may refuse it any more, so it has no quota and needs no room.
func (b *Batches) submitNext(ctx context.Context, batch *Request, status Status, ended []ending) (Request, error) {
	_, next, err := b.submissions(ctx, batch)
	if err != nil {
		return Request{}, err
	}
	if next.Content, err = told(batch, status, ended, next.Content.Data); err != nil {
		return Request{}, err
	}
	created, err := b.service.create(ctx, *next)
	return created.Request, err
}

// What a request gets that follows a batch, as JSON. It has no links, because the domain knows no
// URL: all follow from the ids.
type (
	outcomes struct {
		Batch    batchOutcome    `json:"batch"`
		Requests []memberOutcome `json:"requests"`
		Content  json.RawMessage `json:"content,omitzero"` // that the submission had
	}
	batchOutcome struct {
		ID        string `json:"id"`
		Life      string `json:"life,omitzero"`
		Status    Status `json:"status"`
		Total     int    `json:"total"`
		Succeeded int    `json:"succeeded"`
		Failed    int    `json:"failed"`
		Canceled  int    `json:"canceled"`
		Expired   int    `json:"expired"`
	}
	memberOutcome struct {
		ID     string          `json:"id"`
		Life   string          `json:"life,omitzero"`
		Status *Status         `json:"status"` // null: it is not known any more
		Result *Result         `json:"result,omitzero"`
		Error  *failureOutcome `json:"error,omitzero"`
	}
	failureOutcome struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
)

// told returns what a request gets that follows a batch. Results are in it that documents have,
// too, as long as all stays within the limit of the batch; a message may go beyond that, but is cut
// to a line.
func told(batch *Request, status Status, ended []ending, content json.RawMessage) (Content, error) {
	const line = 200 // bytes of a message; with a thousand of them it is not much
	c := batch.Batch
	all := outcomes{
		Batch: batchOutcome{
			ID: batch.ID, Life: batch.Life, Status: status, Total: c.Total,
			Succeeded: c.Succeeded, Failed: c.Failed, Canceled: c.Canceled, Expired: c.Expired,
		},
		Requests: make([]memberOutcome, len(ended)),
		Content:  content,
	}
	if len(content) == 0 {
		all.Content = nil
	}
	for i := range ended {
		e, m := &ended[i], &all.Requests[i]
		if m.ID = e.ID; !e.known() {
			continue
		}
		m.Life, m.Status = e.Life, &e.Status
		if e.brought() {
			m.Result = &Result{ContentInfo: e.Result.ContentInfo}
		}
		if e.Error != nil {
			m.Error = &failureOutcome{Code: e.Error.Code, Message: Clip(e.Error.Message, line)}
		}
	}
	data, err := encodeOutcomes(&all)
	if err != nil {
		return Content{}, err
	}
	const name = len(`,"value":`)
	room := c.Limit - int64(len(data))
	for i := range ended {
		if !ended[i].brought() || ended[i].Result.Value == nil {
			continue
		}
		if room -= int64(len(ended[i].Result.Value) + name); room < 0 {
			break
		}
		all.Requests[i].Result.Value = ended[i].Result.Value
	}
	data, err = encodeOutcomes(&all)
	return Content{Type: "application/json", Data: data}, err
}

func encodeOutcomes(all *outcomes) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // which would make another text of a value
	if err := encoder.Encode(all); err != nil {
		return nil, fmt.Errorf("outcomes of a batch: %w", err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}
