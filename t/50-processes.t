#!/usr/bin/perl
# The process model: titles, draining, reloading, restarted children, a lost master, and root given up.
use v5.36;
use Test::More;
plan skip_all => "being written";
