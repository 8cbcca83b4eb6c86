// Package start measures how soon the gateway answers after it was started, and
// how large it is. Its tests print figures and fail only far beyond the goals, as
// a loaded machine is no fault of the gateway.
package start
