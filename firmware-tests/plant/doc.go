// Package plant is what tests of the built gateway share: a gateway, an upstream and
// the line between them; and players, which are sensors at one end and consumers at the
// other, whose count has to be right in the end. All of it ends with its test.
package plant
