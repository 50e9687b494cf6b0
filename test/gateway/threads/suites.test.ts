/** What is true of a gateway in one thread is true of one in two: the same tests again. */

process.env['FN_TEST_GATEWAY_THREADS'] = '2';
await import('../slots.test.ts');
await import('../endings.test.ts');
await import('../chaos.test.ts');
