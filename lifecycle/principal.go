package lifecycle

import "slices"

// Role is what a caller may do.
type Role string

// The roles. A client submits and reads what it owns; a processor reports on
// any request; an admin may do both, with everybody's requests, and see what is kept from others,
// such as stack traces.
const (
	RoleClient    Role = "client"
	RoleProcessor Role = "processor"
	RoleAdmin     Role = "admin"
)

// Principal is who makes a call. Requests belong to its Subject.
type Principal struct {
	Subject string
	Roles   []Role
	// Request, if it names one, is the one request that the principal may see; all it may do is
	// follow that.
	Request Ref
}

// Is reports whether the principal has the role, or is an admin, who has all.
func (p Principal) Is(role Role) bool {
	return slices.Contains(p.Roles, role) || slices.Contains(p.Roles, RoleAdmin)
}
