package bolt

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hark-push/hark/webhook/dispatch"
)

// Endpoints live in the writer's memory: reading one is an operation, too.

// CreateEndpoint implements dispatch.Store.
func (s *Store) CreateEndpoint(ctx context.Context, given dispatch.Endpoint) (dispatch.Endpoint, error) {
	given = cloneEndpoint(given)
	var stored dispatch.Endpoint
	err := s.write(ctx, func(b *batch) error {
		e := s.endpoints.byID[given.ID]
		switch {
		case e == nil:
			if given.Quota > 0 && s.endpoints.count(given.Owner, given.OneOff) >= given.Quota {
				return dispatch.ErrQuota
			}
			if !b.spare(perRequest, reserveCreate) {
				return unavailable(errFull)
			}
			e = b.createEndpoint(given)
		case !e.OneOff || !given.OneOff || e.Owner != given.Owner:
			return dispatch.ErrExists
		}
		if e.OneOff {
			b.name(e, b.now)
		}
		stored = cloneEndpoint(e.Endpoint)
		return nil
	})
	return stored, err
}

func (b *batch) createEndpoint(given dispatch.Endpoint) *endpoint {
	e := &endpoint{Endpoint: given, serial: b.sequence(endpointsBucket), leases: make(map[uint64]lease), at: never}
	e.Version, e.CreatedAt, e.UpdatedAt = 1, b.now, b.now
	b.saveEndpoint(e)
	b.s.endpoints.add(e)
	b.undo = append(b.undo, func() { b.s.endpoints.remove(e) })
	return e
}

// Endpoint implements dispatch.Store.
func (s *Store) Endpoint(ctx context.Context, owner, id string) (dispatch.Endpoint, dispatch.Health, error) {
	var found dispatch.Endpoint
	var health dispatch.Health
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, id)
		if err != nil {
			return err
		}
		found, health = cloneEndpoint(e.Endpoint), e.health(nanos(b.now))
		return nil
	})
	return found, health, err
}

// EndpointOwner implements dispatch.Store.
func (s *Store) EndpointOwner(ctx context.Context, id string) (string, error) {
	var owner string
	err := s.write(ctx, func(*batch) error {
		e := s.endpoints.byID[id]
		if e == nil {
			return dispatch.ErrNotFound
		}
		owner = e.Owner
		return nil
	})
	return owner, err
}

// ListEndpoints implements dispatch.Store.
func (s *Store) ListEndpoints(ctx context.Context, owner, after string, limit int) ([]dispatch.Endpoint, error) {
	var found []dispatch.Endpoint
	err := s.write(ctx, func(*batch) error {
		list := s.endpoints.listed(owner)
		if after != "" {
			e, err := s.endpoints.of(owner, after)
			if err != nil {
				return err
			}
			list = list[:max(slices.Index(list, e), 0)]
		}
		for _, e := range slices.Backward(list) {
			if len(found) >= limit {
				break
			}
			found = append(found, cloneEndpoint(e.Endpoint))
		}
		return nil
	})
	return found, err
}

// ListAllEndpoints implements dispatch.Store.
func (s *Store) ListAllEndpoints(ctx context.Context, after string, limit int) ([]dispatch.Endpoint, error) {
	var found []dispatch.Endpoint
	err := s.write(ctx, func(*batch) error {
		list := s.endpoints.all
		if after != "" {
			e := s.endpoints.byID[after]
			if e == nil {
				return dispatch.ErrNotFound
			}
			i, _ := slices.BinarySearchFunc(list, e.serial, func(other *endpoint, serial uint64) int { return cmp.Compare(other.serial, serial) })
			list = list[:i]
		}
		for _, e := range slices.Backward(list) {
			if len(found) >= limit {
				break
			}
			found = append(found, cloneEndpoint(e.Endpoint))
		}
		return nil
	})
	return found, err
}

// UpdateEndpoint implements dispatch.Store.
func (s *Store) UpdateEndpoint(ctx context.Context, given dispatch.Endpoint) (dispatch.Endpoint, error) {
	given = cloneEndpoint(given)
	var stored dispatch.Endpoint
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(given.Owner, given.ID)
		if err != nil {
			return err
		}
		if e.Version != given.Version {
			return dispatch.ErrConflict
		}
		b.touch(e)
		was, ordered := e.Status, e.Ordered()
		version, created, oneOff := e.Version, e.CreatedAt, e.OneOff
		e.Endpoint = given
		e.Version, e.CreatedAt, e.UpdatedAt, e.OneOff = version+1, created, b.now, oneOff
		s.endpoints.note(e)
		b.saveEndpoint(e)
		if e.Status == dispatch.Active && was != dispatch.Active {
			e.Health.Failures, e.Health.FailingSince, e.Health.HeldUntil = 0, time.Time{}, time.Time{}
			b.saveHealth(e)
		}
		if e.Ordered() != ordered {
			b.fileAll(e)
		}
		b.wake(e)
		stored = cloneEndpoint(e.Endpoint)
		return nil
	})
	return stored, err
}

// DeleteEndpoint implements dispatch.Store. The deliveries cannot be reached any more when it
// returns; the next Sweep removes them.
func (s *Store) DeleteEndpoint(ctx context.Context, owner, id string) error {
	return s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, id)
		if err != nil {
			return err
		}
		b.deleteEndpoint(e)
		return nil
	})
}

func (b *batch) deleteEndpoint(e *endpoint) {
	b.delete(endpointsBucket, []byte(e.ID))
	b.delete(healthBucket, position(nil, e.serial))
	b.put(deletedBucket, position(nil, e.serial), nil)
	b.s.endpoints.remove(e)
	b.undo = append(b.undo, func() { b.s.endpoints.add(e) })
}

// PutIfAbsent implements dispatch.Store.
func (s *Store) PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error) {
	var kept []byte
	err := s.write(ctx, func(b *batch) error {
		found, err := b.read(keptBucket, []byte(name))
		if err != nil {
			return b.s.damaged("", "what is kept as "+name, err)
		}
		if kept = bytes.Clone(found); kept != nil {
			return nil
		}
		kept = bytes.Clone(value)
		b.put(keptBucket, []byte(name), kept)
		return nil
	})
	return kept, err
}

// Hold implements dispatch.Store.
func (s *Store) Hold(ctx context.Context, owner, id string, d time.Duration) error {
	return s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(owner, id)
		if err != nil {
			return err
		}
		if until := b.now.Add(d); until.After(e.Health.HeldUntil) {
			b.touch(e)
			e.Health.HeldUntil = until
			b.saveHealth(e)
		}
		return nil
	})
}

// OnDue implements dispatch.Store. f runs on a goroutine that all changes wait for: it
// must not call the store. A call that is running when stop is called goes on.
func (s *Store) OnDue(f func()) (stop func()) { return s.dues.Add(func(string) { f() }) }
