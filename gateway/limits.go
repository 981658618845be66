package main

// connections returns how many push connections are taken on: what was configured, or
// what the limit of open files leaves when calls, the store and the queue have theirs. Without one, a process
// that has no descriptor left can neither accept nor tell anybody.
func connections(configured int) int {
	if configured > 0 {
		return configured
	}
	limit, ok := openFiles()
	if !ok {
		return 0
	}
	const most, least = 1 << 24, 64 // of an unlimited one, and of one that is very small
	n := int(min(limit, most))
	return max(n-n/25-200, least)
}
