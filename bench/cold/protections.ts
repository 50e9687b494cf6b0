/** placeholder */
export async function measureProtections(): Promise<void> {}
