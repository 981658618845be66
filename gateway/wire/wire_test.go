package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

func sample() lifecycle.Request {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	return lifecycle.Request{
		ID: "r1", Life: "0123456789", Owner: "o", Route: "images", Topic: "order-42", Status: lifecycle.Processing, Step: "resizing", Percent: new(40.0),
		Message: "quotes \" <and> ünïcode \n lines", Attempt: 1, MaxAttempts: 3, Sequence: 3,
		CreatedAt: at, UpdatedAt: at.Add(4 * time.Second), StartedAt: at, ExpiresAt: at.Add(time.Hour), Retention: time.Hour,
	}
}

func TestDocumentAndEvent(t *testing.T) {
	r := sample()
	var e struct {
		SpecVersion, ID, Source, Type, Subject, Time, Sequence, DataContentType string
		Data                                                                    map[string]any
	}
	text := wire.AppendEvent(nil, &r, lifecycle.EventProgress)
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if strings.ContainsAny(string(text), "\n\r") {
		t.Errorf("an event is one line: %s", text)
	}
	if e.ID != "r1/0123456789/3" || e.ID != lifecycle.EventID(r.Ref(), 3) || e.Source != "/v1/requests/r1" || e.Type != "request.progress" || e.Subject != "order-42" || e.Sequence != "0000000003" || e.Time != "2026-01-02T03:04:09.006Z" {
		t.Errorf("%+v", e)
	}
	for key, want := range map[string]any{
		"id": "r1", "status": "processing", "percent": 40.0, "message": r.Message, "eta": "2026-01-02T03:04:15.006Z", "position": nil, "error": nil, "result": nil, "endedAt": nil,
	} {
		if got, ok := e.Data[key]; !ok || got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	r.Error = &lifecycle.Failure{Code: "c", Message: "m", Detail: "d", Trace: "goroutine 1"}
	if text := wire.AppendDocument(nil, &r, wire.View{}); strings.Contains(string(text), "goroutine") {
		t.Errorf("a trace is for those only who may see it: %s", text)
	}
	if text := wire.AppendDocument(nil, &r, wire.View{Trace: true}); !strings.Contains(string(text), "goroutine") {
		t.Errorf("no trace: %s", text)
	}
}

// TestBatchDocument: only batches and their members have members of their own in the document.
func TestBatchDocument(t *testing.T) {
	for _, c := range []struct {
		r           lifecycle.Request
		has, hasNot string
	}{
		{lifecycle.Request{ID: "a", Route: "r"}, `"route":"r"`, `atch`},
		{lifecycle.Request{ID: "a", Route: "r", BatchID: "b", Member: 3}, `,"batchId":"b","links"`, `"batch"`},
		{
			lifecycle.Request{ID: "b", Status: lifecycle.Pending, Position: new(3), Batch: &lifecycle.Batch{Total: 9, Succeeded: 1, Failed: 2, Canceled: 3, Expired: 1}},
			`"batch":{"total":9,"open":2,"succeeded":1,"failed":2,"canceled":3,"expired":1}`, "batchId",
		},
		{
			lifecycle.Request{ID: "b", Status: lifecycle.Processing, Batch: &lifecycle.Batch{Total: 9, FailFast: true, Joined: true, Then: "t", Limit: 5}},
			`"expired":0,"onFailure":"cancel","result":"joined","then":"t"}`, `"rel":"then"`,
		},
		{
			lifecycle.Request{ID: "b", Status: lifecycle.Failed, Batch: &lifecycle.Batch{Total: 9, Then: "t", Submitted: true}},
			`/v1/batches/b/requests","method":"GET"},{"rel":"then","href":"/v1/requests/t","method":"GET"}]}`, "onFailure",
		},
	} {
		document := string(wire.AppendDocument(nil, &c.r, wire.View{}))
		if !strings.Contains(document, c.has) || strings.Contains(document, c.hasNot) || strings.Contains(document, `"position":3`) {
			t.Errorf("%s", document)
		}
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	r := sample()
	r.Message = "an ordinary message"
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = wire.AppendEvent(dst[:0], &r, lifecycle.EventProgress)
	}
	b.SetBytes(int64(len(dst)))
}
