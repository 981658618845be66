package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// damagedStore has one request, whose record is damaged.
type damagedStore struct {
	lifecycle.Store
	deleted bool
}

func (s *damagedStore) Get(context.Context, lifecycle.Ref) (lifecycle.Request, error) {
	if s.deleted {
		return lifecycle.Request{}, lifecycle.ErrNotFound
	}
	return lifecycle.Request{}, &lifecycle.DamageError{ID: "a", What: "the record", Err: errors.New("other bytes")}
}

func (s *damagedStore) DeleteDamaged(_ context.Context, id string) (lifecycle.Request, error) {
	s.deleted = true
	return lifecycle.Request{ID: id, Owner: "alice"}, nil
}

// TestDeleteDamaged: a request whose record is damaged is deleted by an admin, which is logged, and
// by nobody else.
func TestDeleteDamaged(t *testing.T) {
	var log strings.Builder
	store := new(damagedStore)
	s := lifecycle.New(store, new(brokenQueue), lifecycle.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	alice := lifecycle.Principal{Subject: "alice", Roles: []lifecycle.Role{lifecycle.RoleClient, lifecycle.RoleProcessor}}
	if _, damaged := errors.AsType[*lifecycle.DamageError](s.Delete(t.Context(), alice, lifecycle.Named("a"))); !damaged || store.deleted {
		t.Error("its owner deletes it, although nobody knows whose it is")
	}
	admin := lifecycle.Principal{Subject: "root", Roles: []lifecycle.Role{lifecycle.RoleAdmin}}
	if err := s.Delete(t.Context(), admin, lifecycle.Named("a")); err != nil || !store.deleted {
		t.Error(err)
	}
	for _, part := range []string{"level=WARN", "request=a", "owner=alice", "by=root"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("no %s in %s", part, &log)
		}
	}
}

// fullStore stores, and then takes nothing more.
type fullStore struct{ lifecycle.Store }

func (fullStore) Create(_ context.Context, sub lifecycle.Submission) (lifecycle.Created, error) {
	return lifecycle.Created{Request: lifecycle.Request{ID: sub.ID, Owner: sub.Owner, Status: lifecycle.Pending}}, nil
}

func (fullStore) Apply(context.Context, lifecycle.Ref, lifecycle.Change) (lifecycle.Request, error) {
	return lifecycle.Request{}, lifecycle.ErrUnavailable
}

// TestWithdrawnInOneBurst: when queue and store fail together, the log has a line for all requests
// that could not be withdrawn, and their number at the end.
func TestWithdrawnInOneBurst(t *testing.T) {
	var log strings.Builder
	s := lifecycle.New(fullStore{}, &brokenQueue{enqueue: errors.New("down")}, lifecycle.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Submit(t.Context(), client, lifecycle.Submission{ID: id, Route: "r"}); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("submit: %v", err)
		}
	}
	s.Close()
	if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "request=a") || !strings.Contains(lines[1], "more=2 request=c") {
		t.Errorf("the log has\n%s", &log)
	}
}
