package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// ownerHome is the partition in which an owner's feed is, and therefore everything of the
// owner's endpoints: what appends to the feed makes their deliveries in the same step.
func (s *Store) ownerHome(owner string) int {
	partition, _ := s.home(lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: owner})
	return partition
}

// hookOf is what a request names of webhooks for an event, as deliver in deliveries.lua takes it.
func hookOf(r *lifecycle.Request, t lifecycle.EventType) string {
	if r.Webhook == nil {
		return ""
	}
	wanted := "0"
	if r.Webhook.Wants(t) {
		wanted = "1"
	}
	return wanted + " " + strconv.FormatInt(micros(r.ExpiresAt), 10) + " " + r.Webhook.Endpoint
}

// filterOf is what says in deliveries.lua which events are enqueued for an endpoint, "" if none are
// by themselves.
func filterOf(e *dispatch.Endpoint) (string, error) {
	if !e.Listens() {
		return "", nil
	}
	filter, err := json.Marshal(struct {
		Types  []string `json:"types,omitempty"`
		Routes []string `json:"routes,omitempty"`
		Topics []string `json:"topics,omitempty"`
	}{e.Types, e.Routes, e.Topics})
	return string(filter), err
}

// hook runs a script of the webhooks in the partition of an owner.
func (s *Store) hook(ctx context.Context, script *goredis.Script, owner string, args ...any) (link.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, script, s.ownerHome(owner), args...)
	if err != nil {
		return nil, failed(ctx, err)
	}
	switch answer.Verdict() {
	case "ok", "known", "unnamed":
		return answer, nil
	case "gone":
		return nil, dispatch.ErrNotFound
	case "exists":
		return nil, dispatch.ErrExists
	case "conflict":
		return nil, dispatch.ErrConflict
	case "full":
		return nil, dispatch.ErrQuota
	case "lost":
		return nil, dispatch.ErrNotClaimed
	default:
		return nil, failed(ctx, link.ErrAnswer)
	}
}

// CreateEndpoint implements dispatch.Endpoints. Ids are unique over all owners, so one is first
// kept for its owner, in the partition of the id.
func (s *Store) CreateEndpoint(ctx context.Context, e dispatch.Endpoint) (dispatch.Endpoint, error) {
	token := newToken()
	created, err := s.storeEndpoint(ctx, &e, 0, token, false)
	if created != nil || err != nil {
		return endpointOr(created, err)
	}
	owner, err := s.keep(ctx, s.partition(e.ID), "w:id:"+e.ID, []byte(e.Owner))
	if err != nil {
		return dispatch.Endpoint{}, err
	}
	if string(owner) != e.Owner {
		return dispatch.Endpoint{}, dispatch.ErrExists
	}
	return endpointOr(s.storeEndpoint(ctx, &e, 0, token, true))
}

// UpdateEndpoint implements dispatch.Endpoints.
func (s *Store) UpdateEndpoint(ctx context.Context, e dispatch.Endpoint) (dispatch.Endpoint, error) {
	if e.Version == 0 {
		return dispatch.Endpoint{}, dispatch.ErrConflict
	}
	return endpointOr(s.storeEndpoint(ctx, &e, e.Version, newToken(), true))
}

func endpointOr(e *dispatch.Endpoint, err error) (dispatch.Endpoint, error) {
	if e == nil {
		return dispatch.Endpoint{}, err
	}
	return *e, err
}

// storeEndpoint stores an endpoint in the place of a version, 0: of none. It returns neither
// endpoint nor error if the id has to be named first.
func (s *Store) storeEndpoint(ctx context.Context, e *dispatch.Endpoint, version uint64, token string, named bool) (*dispatch.Endpoint, error) {
	record, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("webhook endpoint: %w", err)
	}
	filter, err := filterOf(e)
	if err != nil {
		return nil, fmt.Errorf("webhook endpoint: %w", err)
	}
	interval := e.Interval().Microseconds()
	if e.Rate > 0 {
		interval = max(interval, 1)
	}
	answer, err := s.hook(ctx, hooks.store, e.Owner, s.ahead.Load(), s.publish, token, e.Owner, e.ID, version, named,
		record, filter, e.OneOff, string(e.Status), e.Concurrency, interval, e.Coalesce, e.Timeout.Microseconds(), e.Quota)
	if err != nil || answer.Verdict() == "unnamed" {
		return nil, err
	}
	stored, err := decodeEndpoint(answer[1:])
	return &stored, failed(ctx, err)
}

// decodeEndpoint reads what hook_store.lua answers: JSON, version, time of creation, time of the
// last change.
func decodeEndpoint(answer link.Answer) (dispatch.Endpoint, error) {
	var e dispatch.Endpoint
	if err := json.Unmarshal([]byte(answer.Text(0)), &e); err != nil {
		return dispatch.Endpoint{}, fmt.Errorf("webhook endpoint is damaged: %w", err)
	}
	n, err := answer.Numbers(1, 3)
	if err != nil {
		return dispatch.Endpoint{}, err
	}
	e.Version, e.CreatedAt, e.UpdatedAt = uint64(n[0]), at(n[1]), at(n[2])
	return e, nil
}

// at is a time in µs, 0 for none.
func at(µs int64) time.Time {
	if µs == 0 {
		return time.Time{}
	}
	return time.UnixMicro(µs).UTC()
}

// decodeHealth reads what health in deliveries.lua answers.
func decodeHealth(answer link.Answer) (dispatch.Health, error) {
	n, err := answer.Numbers(0, 7)
	if err != nil {
		return dispatch.Health{}, err
	}
	return dispatch.Health{
		Failures: int(n[0]), Successes: int(n[1]), FailingSince: at(n[2]), LastSuccess: at(n[3]), HeldUntil: at(n[4]),
		Waiting: int(n[5]), Sending: int(n[6]),
	}, nil
}

// Endpoint implements dispatch.Endpoints.
func (s *Store) Endpoint(ctx context.Context, owner, id string) (dispatch.Endpoint, dispatch.Health, error) {
	answer, err := s.hook(ctx, hooks.endpoint, owner, s.ahead.Load(), owner, id)
	if err != nil {
		return dispatch.Endpoint{}, dispatch.Health{}, err
	}
	e, err := decodeEndpoint(answer[1:])
	if err != nil {
		return dispatch.Endpoint{}, dispatch.Health{}, failed(ctx, err)
	}
	h, err := decodeHealth(answer.List(5))
	return e, h, failed(ctx, err)
}

// EndpointOwner implements dispatch.Endpoints: it is for whom CreateEndpoint has kept the id.
func (s *Store) EndpointOwner(ctx context.Context, id string) (string, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	owner, err := s.client.Get(bound, s.tags[s.partition(id)]+"w:id:"+id).Result()
	if errors.Is(err, goredis.Nil) {
		return "", dispatch.ErrNotFound
	}
	return owner, failed(ctx, err)
}

// ListEndpoints implements dispatch.Endpoints.
func (s *Store) ListEndpoints(ctx context.Context, owner, after string, limit int) ([]dispatch.Endpoint, error) {
	answer, err := s.hook(ctx, hooks.endpoints, owner, owner, after, max(limit, 1))
	if err != nil {
		return nil, err
	}
	rows := answer.List(1)
	endpoints := make([]dispatch.Endpoint, len(rows))
	for i := range rows {
		if endpoints[i], err = decodeEndpoint(rows.List(i)); err != nil {
			return nil, failed(ctx, err)
		}
	}
	return endpoints, nil
}

// ListAllEndpoints implements dispatch.Endpoints. Tickets are times, so partitions can be merged.
func (s *Store) ListAllEndpoints(ctx context.Context, after string, limit int) ([]dispatch.Endpoint, error) {
	limit = max(limit, 1)
	before := place{serial: 1 << 53}
	if after != "" {
		owner, err := s.EndpointOwner(ctx, after)
		if err != nil {
			return nil, err
		}
		before.partition = s.ownerHome(owner)
		bound, cancel := s.bounded(ctx)
		defer cancel()
		before.serial, err = s.client.HGet(bound, s.tags[before.partition]+"w:e:"+after, "number").Int64()
		if errors.Is(err, goredis.Nil) {
			return nil, dispatch.ErrNotFound
		}
		if err != nil {
			return nil, failed(ctx, err)
		}
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answers, err := s.runAll(bound, hooks.all, func(i int) []any {
		highest := strconv.FormatInt(before.serial, 10)
		if i >= before.partition {
			highest = "(" + highest
		}
		return []any{highest, limit}
	})
	if err != nil {
		return nil, failed(ctx, err)
	}
	type numbered struct {
		place
		dispatch.Endpoint
	}
	var found []numbered
	for partition, answer := range answers {
		rows := answer.List(1)
		for i := range rows {
			number, err := rows.List(i).Number(0)
			if err != nil {
				return nil, failed(ctx, err)
			}
			e, err := decodeEndpoint(rows.List(i).List(1))
			if err != nil {
				return nil, failed(ctx, err)
			}
			found = append(found, numbered{place{number, partition}, e})
		}
	}
	slices.SortFunc(found, func(a, b numbered) int { return b.compare(a.place) })
	endpoints := make([]dispatch.Endpoint, min(len(found), limit))
	for i := range endpoints {
		endpoints[i] = found[i].Endpoint
	}
	return endpoints, nil
}

// indexEndpoints makes the list of all owners' endpoints of a store of an older version.
func (s *Store) indexEndpoints(ctx context.Context) error {
	for _, tag := range s.tags {
		owners, err := s.client.Names(ctx, tag+"w:own:")
		if err != nil {
			return err
		}
		for _, owner := range owners {
			entries, err := s.client.ZRangeWithScores(ctx, tag+"w:own:"+owner, 0, -1).Result()
			if err == nil && len(entries) > 0 {
				err = s.client.ZAdd(ctx, tag+"w:all", entries...).Err()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// DeleteEndpoint implements dispatch.Endpoints. What is left when it breaks off is forgotten by
// Sweep.
func (s *Store) DeleteEndpoint(ctx context.Context, owner, id string) error {
	if _, err := s.hook(ctx, hooks.delete, owner, owner, id); err != nil {
		return err
	}
	if err := s.unname(ctx, id); err != nil {
		return err
	}
	return s.purge(ctx, s.ownerHome(owner))
}

// unname frees the id of an endpoint that was forgotten. If that does not happen, only its owner
// can use it again.
func (s *Store) unname(ctx context.Context, id string) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	return failed(ctx, s.client.Unlink(bound, s.tags[s.partition(id)]+"w:id:"+id).Err())
}

// PutIfAbsent implements dispatch.Endpoints.
func (s *Store) PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error) {
	return s.keep(ctx, s.partition(name), "w:kept:"+name, value)
}

func (s *Store) keep(ctx context.Context, partition int, name string, value []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, scripts.keep, partition, name, value)
	return []byte(answer.Text(0)), failed(ctx, err)
}

// purgeBatch is how many deliveries are forgotten in one step.
const purgeBatch = 200

// purge forgets all deliveries and one-off endpoints of a partition whose time has come.
func (s *Store) purge(ctx context.Context, partition int) error {
	for {
		bound, cancel := s.bounded(ctx)
		answer, err := s.run(bound, hooks.purge, partition, s.ahead.Load(), s.options.WebhookRetention.Microseconds(), purgeBatch)
		cancel()
		if err != nil {
			return failed(ctx, err)
		}
		for i := range answer.List(1) {
			if err := s.unname(ctx, answer.List(1).Text(i)); err != nil {
				return err
			}
		}
		if more, err := answer.Number(0); err != nil || more == 0 {
			return failed(ctx, err)
		}
	}
}
